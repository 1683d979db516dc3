# SPDX-License-Identifier: Apache-2.0
"""Questions -> where each head looks from the end of the prompt: at the fact, the question, the first token, the rest.

One attention row a question, that of the last prompt token, from which the answer's first token is written. Shares are
of the row's whole weight: they sum to 1, but for a learnt sink (gpt-oss), whose share no position has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..adapters import Adapter
from ..errors import UsageError
from ..models import LoadedModel
from ..prompts import Encoder, Example
from ..runs import Run, Unwatched, Watcher
from .attention_rows import attention_rows, eager
from .head_maps import head_map
from .questions import Asked, at_work, left_to_ask, prefix_of, watched
from .shapes import HeadShape
from .spans import Spans, spans

RECORDS = "attention.jsonl"
WHERE = ("needle", "question", "first token", "rest")
BARS = 12  # heads that the bars show
DIGITS = 6


def shares(row: torch.Tensor, held: Spans) -> torch.Tensor:
    """Attention rows (heads, positions) -> (heads, 4): the weight on what WHERE names, none counted twice.

    The first token is its own even where a fact or a question begins with it.
    """
    weights = row.double()
    first = weights[:, 0]
    parts = [weights[:, max(1, span.start) : max(1, span.stop)].sum(-1) for span in (held.fact, held.asked)]
    return torch.stack([*parts, first, weights.sum(-1) - first - sum(parts)], dim=-1)


def measure(
    run: Run,
    model: LoadedModel,
    examples: Sequence[Example],
    *,
    heads: Sequence[tuple[int, int]] | None = None,
    adapter: Adapter | None = None,
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Measure the heads (None: all) in the base and, where an adapter is given, in the adapted model.

    Returns (and writes) the results. UsageError for a head that the model has not, and where an answer does not stand
    in its context.
    """
    shape = HeadShape.of(model)
    chosen = list(heads) if heads is not None else shape.every
    if wrong := [head for head in chosen if head not in set(shape.every)]:
        raise UsageError(
            f"{model.name} has no head {wrong[0][0]}:{wrong[0][1]}; its layers go from {shape.layers[0]} to "
            f"{shape.layers[-1]}, their heads from 0 to {max(shape.heads) - 1}"
        )
    encoder = Encoder(model.tokenizer, model.window)
    groups = left_to_ask(examples, {record["question"] for record in run.records(RECORDS)})
    phases: dict[str, Adapter | None] = {"base": None} | ({adapter.method: adapter} if adapter is not None else {})
    for group in watched("watching where heads look", groups, watcher or Unwatched(), steps=len(phases)):
        records = [{**one.about(), "shares": {}} for one in group]
        for phase, attached in phases.items():
            with at_work(model, attached):
                prefix = prefix_of(model, group[0].example)
                for one, record in zip(group, records, strict=True):
                    found = _shares_of(model, encoder, one, prefix.extended(model, one.encoded.suffix_ids[:-1]))
                    record["shares"][phase] = {f"{layer}:{head}": found[layer, head] for layer, head in chosen}
        run.append(RECORDS, *records)
    results = summary(run.records(RECORDS), list(phases), shape, chosen)
    run.finish(results)
    return results


def _shares_of(model: LoadedModel, encoder: Encoder, one: Asked, before: Any) -> dict[tuple[int, int], list[float]]:
    held = spans(encoder, one.example.sample, one.question)
    with eager(model):
        _, rows = attention_rows(model, one.encoded.suffix_ids[-1], before.rows(1))
    return {
        (projection.layer, head): [round(share, DIGITS) for share in own]
        for projection, row in zip(model.projections, rows, strict=True)
        for head, own in enumerate(shares(row, held).tolist())
    }


def summary(
    records: Sequence[Mapping[str, Any]],
    phases: Sequence[str],
    shape: HeadShape,
    chosen: Sequence[tuple[int, int]],
) -> dict[str, Any]:
    """Records -> results: the share on the fact as a map a phase, and all four as bars of the heads that look at it."""
    means = {phase: {head: _mean(records, phase, head) for head in chosen} for phase in phases}
    foremost = sorted(chosen, key=lambda head: (-max(means[phase][head][0] for phase in phases), head))[:BARS]
    maps = [
        head_map("needle_attention", f"attention to the needle, {phase}", shape.layers,
                 shape.rows({head: own[0] for head, own in means[phase].items()}), unit="share of attention")
        for phase in phases
    ]  # fmt: skip
    bars = [
        {
            "title": f"where attention goes from the end of the prompt, {phase}",
            "labels": [f"{layer}:{head}" for layer, head in foremost],
            "series": [
                {"name": name, "values": [round(means[phase][head][place], DIGITS) for head in foremost]}
                for place, name in enumerate(WHERE)
            ],
            "unit": "share of attention",
        }
        for phase in phases
    ]
    return {"probe": "attention", "questions": len(records), "phases": list(phases), "maps": maps, "bars": bars}


def _mean(records: Sequence[Mapping[str, Any]], phase: str, head: tuple[int, int]) -> list[float]:
    held = [record["shares"][phase][f"{head[0]}:{head[1]}"] for record in records]
    return [sum(column) / len(held) for column in zip(*held, strict=True)]
