# SPDX-License-Identifier: Apache-2.0
"""A model, maybe with an adapter, and cells of samples -> predictions on disk -> rows of scores with intervals.

Every prediction is kept, one JSON line a question, appended as each context ends. Rows are always recomputed from the
whole file, so an evaluation that was interrupted goes on where it stopped and ends with the same rows.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..adapters import Adapter
from ..generation import answer_questions, stop_ids
from ..models import LoadedModel
from ..prompts import Encoder, Example, require_fit
from ..runs import Run, Unwatched, Watcher
from ..samples import Prediction
from .cells import PREDICTIONS, Cell, Written, digest_of, predict, question_name, rows_of

ASKED = 200  # characters at the end of a context that a prediction shows where its question has no text of its own


@dataclass(frozen=True)
class Waiting:
    """An example until its turn comes, four bytes a token: the prefix packed, of the context only the end.

    `digests` are those of the whole prompts, one a question; `tokens` is the example's.
    """

    example: Example
    prefix_ids: array[int]
    digests: tuple[str, ...]
    tokens: int

    @classmethod
    def packed(cls, example: Example) -> Waiting:
        """Let go of whatever is not needed to ask the questions."""
        sample = example.sample
        trimmed = replace(example, sample=replace(sample, context=sample.context[-ASKED:]), prefix_ids=())
        digests = tuple(digest_of(sample, question) for question in sample.questions)
        return cls(trimmed, array("i", example.prefix_ids), digests, example.tokens)

    def unpacked(self) -> Example:
        """The example as it was, but for its context's text."""
        return replace(self.example, prefix_ids=tuple(self.prefix_ids))


def evaluate(
    run: Run,
    model: LoadedModel,
    cells: Sequence[Cell],
    *,
    method: str,
    adapter: Adapter | None = None,
    watcher: Watcher | None = None,
    on_rows: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
) -> list[dict[str, Any]]:
    """Answer every question greedily and score it; returns (and writes) the rows, one a cell.

    Samples whose predictions stand in the run already are not asked again. `on_rows` gets the rows as each cell ends,
    that cell's last. UsageError before anything is asked where a prompt and its generation budget exceed the model's
    window.
    """
    watcher = watcher or Unwatched()
    encoder = Encoder(model.tokenizer, model.window)
    stops = stop_ids(model, encoder.end_of_turn)
    done = {record["question"] for record in run.records(PREDICTIONS)}
    waiting = [_waiting(cell, encoder, model.window, done) for cell in cells]
    watcher.begin(f"answering as {method}", sum(example.tokens for examples in waiting for example in examples))
    with adapter.attached(model) if adapter is not None else contextlib.nullcontext():
        for cell, examples in zip(cells, waiting, strict=True):
            for example in examples:
                predictions = _answer(model, encoder, example, cell, stops)
                fresh = [prediction for prediction in predictions if prediction.question not in done]
                run.append(PREDICTIONS, *(prediction.record() for prediction in fresh))
                watcher.advance(example.tokens, f"{sum(p.score for p in predictions):.0f}/{len(predictions)} right")
            if examples:
                sample = examples[0].example.sample
                on_rows(rows_of(run.records(PREDICTIONS), method, newest=(sample.task, dict(sample.cell))))
    watcher.end()
    rows = rows_of(run.records(PREDICTIONS), method)
    run.finish({"rows": rows})
    return rows


def _waiting(cell: Cell, encoder: Encoder, window: int | None, done: Collection[str]) -> list[Waiting]:
    """The cell's examples that hold a question without a prediction, each checked against the window."""
    waiting = []
    for sample in cell.samples:
        if all(question_name(sample, place) in done for place in range(len(sample.questions))):
            continue
        example = encoder.encode(sample)
        require_fit(example, window)
        waiting.append(Waiting.packed(example))
    return waiting


def _answer(
    model: LoadedModel, encoder: Encoder, waiting: Waiting, cell: Cell, stops: frozenset[int]
) -> list[Prediction]:
    example = waiting.unpacked()
    predictions = []
    for place, answer in enumerate(answer_questions(model, example, stops)):
        written = Written(
            text=encoder.tokenizer.decode(answer.ids, skip_special_tokens=True),
            tokens=len(example.prompt_ids(example.questions[place])),
            new_tokens=len(answer.ids),
            stopped=answer.stopped,
            notes={"cut_tokens": example.cut_tokens} if example.cut_tokens else {},
        )
        predictions.append(predict(example.sample, place, waiting.digests[place], written, cell.scores))
    return predictions
