# SPDX-License-Identifier: Apache-2.0
"""Questions -> the direct effects of heads and MLPs on the right and the wrong token, before and after tuning.

As the paper does (section 5), a question is taken that the base gets wrong and the tuned model gets right. The position
is the last one before the base goes wrong: the reference's words are given up to the first token of its answer that the
base would write otherwise. The right token is the reference's there, the wrong one what the base would write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..adapters import Adapter
from ..errors import UsageError
from ..models import LoadedModel
from ..packing import answer_logits
from ..prompts import Encoder, Example
from ..runs import Run, Unwatched, Watcher
from ..shared_prefix import PrefixCache
from .direct_effect import Effects, direct_effects
from .head_maps import head_map
from .questions import Asked, at_work, left_to_ask, prefix_of, watched
from .residual_parts import read_parts
from .spans import answer_tokens

RECORDS = "effects.jsonl"
ROLES = ("right", "wrong")
DIGITS = 6
Mean = Mapping[str, torch.Tensor]  # parts by name, the tokens along the first dimension


@dataclass(frozen=True)
class Chosen:
    """A question, how much of its answer is given, and the tokens whose logits are taken apart."""

    asked: Asked
    given: int
    tokens: tuple[int, ...]


def token_ids(model: LoadedModel, typed: Sequence[str]) -> list[int]:
    """Texts as typed -> one token id each. UsageError for a text of several tokens."""
    found = []
    for text in typed:
        ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            pieces = [model.tokenizer.decode([token]) for token in ids]
            raise UsageError(
                f"--tokens takes texts of one token each; {text!r} is {len(ids)} for {model.name} ({pieces})"
            )
        found.append(int(ids[0]))
    return found


def measure(
    run: Run,
    model: LoadedModel,
    examples: Sequence[Example],
    *,
    norm: str = "frozen",
    tokens: Sequence[int] | None = None,
    adapter: Adapter | None = None,
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Take the logits apart for every question that serves; returns (and writes) the results.

    With `tokens` every question serves: theirs are the logits that follow the prompt. UsageError where none serves, or
    where a model's logits can't be taken apart (residual_parts.py).
    """
    phases: dict[str, Adapter | None] = {"before": None} | ({"after": adapter} if adapter is not None else {})
    groups = left_to_ask(examples, {record["question"] for record in run.records(RECORDS)})
    for group in watched("taking logits apart", groups, watcher or Unwatched(), steps=len(phases)):
        prefixes = {}
        for phase, attached in phases.items():
            with at_work(model, attached):
                prefixes[phase] = prefix_of(model, group[0].example)
        if tokens is None:
            chosen = _disagreements(model, group, phases, prefixes)
        else:
            chosen = [Chosen(one, 0, tuple(tokens)) for one in group]
        records = {one.name: {**one.about(), "used": False} for one in group}
        for phase, attached in phases.items():
            with at_work(model, attached):
                for choice in chosen:
                    record = records[choice.asked.name]
                    ids = (*choice.asked.encoded.suffix_ids, *choice.asked.encoded.answer_ids[: choice.given])
                    parts = read_parts(model, ids, prefixes[phase].rows(1))
                    effects = direct_effects(model, parts, choice.tokens, norm)
                    texts = [model.tokenizer.decode([token]) for token in choice.tokens]
                    record |= {"used": True, "given": choice.given, "tokens": list(choice.tokens), "texts": texts}
                    record[phase] = _as_record(effects)
        run.append(RECORDS, *records.values())
    roles = ROLES if tokens is None else [model.tokenizer.decode([token]) for token in tokens]
    results = summary(run.records(RECORDS), list(phases), [p.layer for p in model.projections], roles, norm)
    run.finish(results)
    return results


def _disagreements(
    model: LoadedModel,
    group: Sequence[Asked],
    phases: Mapping[str, Adapter | None],
    prefixes: Mapping[str, PrefixCache],
) -> list[Chosen]:
    """The questions that the base gets wrong and the tuned model, where there is one, right, each with its tokens."""
    encoder = Encoder(model.tokenizer, model.window)
    guesses: dict[str, list[list[int]]] = {}
    for phase, attached in phases.items():
        with at_work(model, attached):
            logits = [answer_logits(model, [one.encoded], prefixes[phase])[0] for one in group]
        guesses[phase] = [rows.argmax(-1).tolist() for rows in logits]
    chosen = []
    for number, one in enumerate(group):
        answer = one.encoded.answer_ids
        places = answer_tokens(encoder, one.question)
        wrong = {phase: [k for k in places if guesses[phase][number][k] != answer[k]] for phase in phases}
        if wrong["before"] and not wrong.get("after"):
            place = wrong["before"][0]
            chosen.append(Chosen(one, place, (answer[place], guesses["before"][number][place])))
    return chosen


def _as_record(effects: Effects) -> dict[str, Any]:
    """Everything, rounded; `capped` says that the logits are those before the model's soft cap."""
    figures = {"heads": effects.heads, "attention_biases": effects.attention_biases, "mlps": effects.mlps,
               "embedding": effects.embedding, "rest": effects.rest, "logits": effects.logits,
               "totals": effects.total}  # fmt: skip
    return {**{name: _rounded(tensor.tolist()) for name, tensor in figures.items()}, "capped": effects.capped}


def _rounded(values: Any) -> Any:
    return [_rounded(value) for value in values] if isinstance(values, list) else round(values, DIGITS)


def summary(
    records: Sequence[Mapping[str, Any]], phases: Sequence[str], layers: Sequence[int], roles: Sequence[str], norm: str
) -> dict[str, Any]:
    """Records -> results: means over the questions that served. UsageError where none did."""
    used = [record for record in records if record["used"]]
    if not used:
        wanted = "the base gets wrong and the tuned model right" if "after" in phases else "the base gets wrong"
        raise UsageError(
            f"none of the {len(records)} questions is one that {wanted}; ask more (--n), of another size, or name "
            "--tokens"
        )
    means = {phase: _means(used, phase) for phase in phases}
    paired = tuple(roles) == ROLES
    maps = []
    for phase in phases:
        heads = means[phase]["heads"]
        shown = list(zip(roles, heads, strict=True))
        if paired:
            shown.append(("right minus wrong", heads[0] - heads[1]))
        maps += [
            head_map("direct_effect", f"direct effect, {role}, {phase}", layers, values.tolist(), unit="logit")
            for role, values in shown
        ]
    gaps = [abs(total - logit) for record in used for phase in phases
            for total, logit in zip(record[phase]["totals"], record[phase]["logits"], strict=True)]  # fmt: skip
    return {
        "probe": "direct",
        "norm": norm,
        "questions": len(records),
        "used": len(used),
        "capped": used[0]["before"]["capped"],
        **({"largest_gap": max(gaps)} if norm == "frozen" else {}),
        "sums": [_sums(means[phase], phase, role, place) for phase in phases for place, role in enumerate(roles)],
        "examples": [{name: record[name] for name in ("question", "given", "texts")} for record in used[:5]],
        "maps": maps,
        "bars": [_bars("MLP", "mlps", means, roles, layers), _bars("attention", "attention", means, roles, layers)],
    }


def _means(used: Sequence[Mapping[str, Any]], phase: str) -> Mean:
    names = ("heads", "attention_biases", "mlps", "embedding", "rest", "logits", "totals")
    held = {name: torch.tensor([record[phase][name] for record in used], dtype=torch.float64) for name in names}
    mean = {name: values.mean(0) for name, values in held.items()}
    return mean | {"attention": mean["heads"].sum(-1) + mean["attention_biases"]}


def _sums(mean: Mean, phase: str, role: str, place: int) -> dict[str, Any]:
    """What all heads, all MLPs, ... add to one token's logit."""
    figures = {name: mean[name][place] for name in ("embedding", "heads", "attention_biases", "mlps", "rest")}
    totals = {"total": mean["totals"][place], "logit": mean["logits"][place]}
    return {"phase": phase, "token": role} | {k: round(float(v.sum()), DIGITS) for k, v in (figures | totals).items()}


def _bars(
    title: str, name: str, means: Mapping[str, Mean], roles: Sequence[str], layers: Sequence[int]
) -> dict[str, Any]:
    series = [
        {"name": f"{role}, {phase}", "values": _rounded(mean[name][place].tolist())}
        for phase, mean in means.items()
        for place, role in enumerate(roles)
    ]
    return {"title": f"direct effect of each layer's {title}", "labels": [str(layer) for layer in layers],
            "series": series, "unit": "logit"}  # fmt: skip
