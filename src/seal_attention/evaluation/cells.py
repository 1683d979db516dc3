# SPDX-License-Identifier: Apache-2.0
"""Answers to the questions of a cell -> predictions, each kept whole; predictions -> one row of scores a cell.

Rows are always computed from every prediction on disk, so an evaluation that was interrupted ends with the same rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..facts import AROUND, find_fact
from ..samples import Prediction, Question, Sample, digest_of, question_name
from ..scoring.statistics import score_interval

PREDICTIONS = "predictions.jsonl"
# What a row or a paired comparison holds beside the names of its cell (lines, topics, length, depth, ...).
FIGURES = {"method", "task", "tokens", "n", "correct", "accuracy", "low", "high", "scores", "cut", "estimated"}
FIGURES |= {"difference", "only_first", "only_second", "p_value"}

CellName = tuple[str, dict[str, int]]  # the task, and the cell's sizes


@dataclass(frozen=True)
class Cell:
    """One square of an evaluation: samples of one task and size (gone through once), and the task's scores."""

    samples: Iterable[Sample]
    scores: Callable[[str, Question], Mapping[str, float]]


@dataclass(frozen=True)
class Written:
    """What a model wrote after one prompt: the text, and the tokens of the prompt and of the text.

    `notes` go into the prediction's `meta`: what happened to this one prompt.
    """

    text: str
    tokens: int
    new_tokens: int
    stopped: bool
    notes: Mapping[str, Any] = field(default_factory=dict)


def predict(
    sample: Sample,
    place: int,
    kept: Mapping[str, Any],
    written: Written,
    scores: Callable[[str, Question], Mapping[str, float]],
) -> Prediction:
    """Score one answer and keep everything that the score came from; `kept` is what `kept_of` made of the prompt."""
    question = sample.questions[place]
    scored = scores(written.text, question)
    return Prediction(
        question=question_name(sample, place),
        sample=sample.identifier,
        task=sample.task,
        asked=(question.text or sample.context[-200:]).strip(),
        answers=question.answers,
        text=written.text,
        score=next(iter(scored.values())),
        tokens=written.tokens,
        new_tokens=written.new_tokens,
        stopped=written.stopped,
        scores=scored,
        cell=sample.cell,
        meta={**question.meta, **kept, **written.notes},
    )


def kept_of(sample: Sample, question: Question) -> dict[str, Any]:
    """What a prediction keeps of its prompt: `prompt`, a digest of it all, and, where the text holds one fact that
    answers the question, `passage`: [what stands before it, the fact, what stands after it].
    """
    kept: dict[str, Any] = {"prompt": digest_of(sample, question)}
    if found := find_fact(sample.context, question):
        (start, end), context = found.whole, sample.context
        kept["passage"] = [context[max(0, start - AROUND) : start], context[start:end], context[end : end + AROUND]]
    return kept


def rows_of(records: Iterable[Mapping[str, Any]], method: str, newest: CellName | None = None) -> list[dict[str, Any]]:
    """Predictions -> one row a cell: n, correct, accuracy and its 95 % interval; `tokens` is the mean prompt.

    Where a task has several scores, `scores` holds the mean of each; the accuracy is that of the first. `cut` counts
    the prompts that lost their middle or that a server cut, `estimated` those whose tokens nobody counted; both stand
    only where there are any. Rows are in the order of task and size, the row of `newest` last.
    """
    rows = []
    for (task, cell), held in sorted(by_cell(records), key=lambda item: item[0] == newest):
        total, correct = len(held), sum(record["score"] for record in held)
        low, high = score_interval([record["score"] for record in held])
        row = {
            "method": method,
            "task": task,
            **cell,
            "tokens": round(sum(record["tokens"] for record in held) / total),
            "n": total,
            "correct": int(correct) if float(correct).is_integer() else round(correct, 4),
            "accuracy": round(correct / total, 4),
            "low": round(low, 4),
            "high": round(high, 4),
        }
        names = held[0]["scores"]
        if len(names) > 1:
            row["scores"] = {name: round(sum(record["scores"][name] for record in held) / total, 4) for name in names}
        notes = [record.get("meta", {}) for record in held]
        counts = {
            "cut": sum(bool(note.get("cut_tokens") or note.get("cut_by_server")) for note in notes),
            "estimated": sum(bool(note.get("tokens_estimated")) for note in notes),
        }
        rows.append({**row, **{name: count for name, count in counts.items() if count}})
    return rows


def by_cell(records: Iterable[Mapping[str, Any]]) -> list[tuple[CellName, list[Mapping[str, Any]]]]:
    """Predictions -> ((task, cell), its predictions), in the order of task and size."""
    cells: dict[tuple[str, tuple[tuple[str, int], ...]], list[Mapping[str, Any]]] = defaultdict(list)
    for record in records:
        cells[record["task"], tuple(record["cell"].items())].append(record)
    ordered = sorted(cells.items(), key=lambda item: (item[0][0], [name for name, _ in item[0][1]], item[0][1]))
    return [((task, dict(cell)), held) for (task, cell), held in ordered]


def cell_of(row: Mapping[str, Any]) -> dict[str, int]:
    """The sizes that name a row's cell."""
    return {name: value for name, value in row.items() if name not in FIGURES}
