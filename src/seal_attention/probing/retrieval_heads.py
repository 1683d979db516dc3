# SPDX-License-Identifier: Apache-2.0
"""Questions answered token by token -> how much of the answer each head copies out of the context (Wu et al., 2024).

"Retrieval Head Mechanistically Explains Long-Context Factuality". While the model writes greedily, a head copies a
token if the position that it attends to most holds that token and lies in the needle's answer; its score for a question
is the share of the answer it copied, its score the mean over the questions that the model answered.

From their code (`retrieval_head_detection.py`) we keep: the attention row is the one that predicts the token; the
maximum is over all positions, the first token and what was written included; a position may count twice; a token with a
newline ends the answer; a question counts where more than half of the answer's words came (ROUGE-1 recall, the needle's
score here; other tasks' own). We differ: the answer's place comes from the text, where theirs is the first window of as
many tokens that holds nine in ten of the answer's, and may be off or missing (they then count zeros); the prompt has
the model's chat template and one BOS; an answer also ends where the model ends its turn.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..adapters import Adapter
from ..generation import stop_ids
from ..models import LoadedModel
from ..prompts import Encoder, Example
from ..runs import Run, Unwatched, Watcher, save_text
from ..samples import Question
from .attention_rows import attention_rows, eager
from .head_maps import head_map
from .questions import Asked, at_work, left_to_ask, prefix_of, watched
from .shapes import HeadShape
from .spans import spans

RECORDS = "retrieval.jsonl"
WU_FILE = "retrieval_heads.json"
ACCEPTED = 0.5  # score that an answer must exceed to count
RETRIEVAL_HEAD = 0.1  # mean score from which the paper calls a head a retrieval head
Scorers = Mapping[str, Callable[[str, Question], Mapping[str, float]]]


@dataclass(frozen=True)
class Copied:
    """An answer's ids, and how often each (layer, head) copied one of them out of the span."""

    ids: tuple[int, ...]
    hits: Counter[tuple[int, int]]


def copied(
    model: LoadedModel, prompt_ids: Sequence[int], cache: Any, span: range, ends: Callable[[int], bool], limit: int
) -> Copied:
    """Write greedily behind `prompt_ids`, of which `cache` holds all but the last; inside `eager`.

    `span` are the places of the answer in the prompt; `ends` says whether a token ends the answer.
    """
    written: list[int] = []
    hits: Counter[tuple[int, int]] = Counter()
    token = prompt_ids[-1]
    while len(written) < limit:
        logits, rows = attention_rows(model, token, cache)
        token = int(logits.argmax())
        written.append(token)
        holding = {place for place in span if prompt_ids[place] == token}
        if holding:
            for projection, row in zip(model.projections, rows, strict=True):
                most_attended = row.argmax(-1).tolist()
                hits.update((projection.layer, head) for head, at in enumerate(most_attended) if at in holding)
        if ends(token):
            break
    return Copied(tuple(written), hits)


def measure(
    run: Run,
    model: LoadedModel,
    examples: Sequence[Example],
    scorers: Scorers,
    *,
    adapter: Adapter | None = None,
    watcher: Watcher | None = None,
) -> dict[str, Any]:
    """Score every head on every question; returns (and writes) the results.

    `scorers` are the tasks' own, by name; the first score of each decides. UsageError where an answer does not stand in
    its context.
    """
    encoder = Encoder(model.tokenizer, model.window)
    groups = left_to_ask(examples, {record["question"] for record in run.records(RECORDS)})
    stops = stop_ids(model, encoder.end_of_turn)
    for group in watched("watching what heads copy", groups, watcher or Unwatched()):
        with at_work(model, adapter):
            prefix = prefix_of(model, group[0].example)
            for one in group:
                before = prefix.extended(model, one.encoded.suffix_ids[:-1])
                run.append(RECORDS, _record(model, encoder, one, before.rows(1), stops, scorers))
    results = summary(run.records(RECORDS), HeadShape.of(model))
    save_text(run.folder / WU_FILE, json.dumps(_as_wu(run.records(RECORDS), HeadShape.of(model))) + "\n")
    run.finish(results)
    return results


def summary(records: Sequence[Mapping[str, Any]], shape: HeadShape) -> dict[str, Any]:
    """Records -> results: the map over all questions and, of several cells, of each; the heads foremost first."""
    accepted = [record for record in records if record["accepted"]]
    overall = _means(accepted, shape)
    names = list(dict.fromkeys((record["task"], tuple(record["cell"].items())) for record in records))
    maps = [_map(overall, shape, f"retrieval score, {len(accepted)} answers")]
    for task, cell in names if len(names) > 1 else []:
        held = [one for one in accepted if (one["task"], tuple(one["cell"].items())) == (task, cell)]
        maps.append(_map(_means(held, shape), shape, f"retrieval score, {len(held)} answers", task, dict(cell)))
    scored = [(value, *place) for place, value in overall.items() if value is not None]
    ranked = sorted(scored, key=lambda item: (-item[0], item[1:]))
    return {
        "probe": "retrieval",
        "asked": len(records),
        "accepted": len(accepted),
        "threshold": RETRIEVAL_HEAD,
        "retrieval_heads": sum(score >= RETRIEVAL_HEAD for score, _, _ in ranked),
        "heads": len(overall),
        "top": [{"layer": layer, "head": head, "score": round(score, 6)} for score, layer, head in ranked[:20]],
        "maps": maps,
    }


def _record(
    model: LoadedModel, encoder: Encoder, one: Asked, cache: Any, stops: Collection[int], scorers: Scorers
) -> dict[str, Any]:
    sample = one.example.sample
    place = spans(encoder, sample, one.question).answer

    def ends(token: int) -> bool:
        return token in stops or "\n" in encoder.tokenizer.decode([token])

    with eager(model):
        found = copied(model, one.prompt_ids, cache, place, ends, sample.max_new_tokens)
    text = encoder.tokenizer.decode(found.ids, skip_special_tokens=True)
    scores = scorers[sample.task](text, one.question)
    score = next(iter(scores.values()))
    return {
        **one.about(),
        "tokens": len(one.prompt_ids),
        "answer_at": [place.start, place.stop],
        "text": text,
        "score": score,
        "accepted": score > ACCEPTED,
        "hits": [[*place, count] for place, count in sorted(found.hits.items())],
    }


def _scores(record: Mapping[str, Any]) -> dict[tuple[int, int], float]:
    """The scores above 0 of one question."""
    start, end = record["answer_at"]
    return {(layer, head): count / (end - start) for layer, head, count in record["hits"]}


def _means(records: Iterable[Mapping[str, Any]], shape: HeadShape) -> dict[tuple[int, int], float | None]:
    """Each head's mean over the records; None where there are none."""
    scored = [_scores(record) for record in records]
    return {head: sum(one.get(head, 0.0) for one in scored) / len(scored) if scored else None for head in shape.every}


def _map(
    scores: Mapping[tuple[int, int], float | None],
    shape: HeadShape,
    title: str,
    task: str | None = None,
    cell: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    rows = shape.rows(scores)
    return head_map("retrieval_score", title, shape.layers, rows, unit="share of the answer", task=task, cell=cell)


def _as_wu(records: Iterable[Mapping[str, Any]], shape: HeadShape) -> dict[str, list[float]]:
    """Retrieval_Head's own file: "layer-head" -> the score of each question that counted."""
    scored = [_scores(record) for record in records if record["accepted"]]
    return {f"{layer}-{head}": [one.get((layer, head), 0.0) for one in scored] for layer, head in shape.every}
