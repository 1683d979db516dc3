# SPDX-License-Identifier: Apache-2.0
"""A model, maybe with an adapter, and cells of samples -> predictions on disk -> rows of scores with intervals.

Contexts that extend one another (longer sizes of one haystack) are read once, and of those that begin alike (one filler
text) each from where it leaves the one before. Every prediction is kept, one JSON line a question, appended as each
wave of contexts ends. Rows are always recomputed from the whole file, so an evaluation that was interrupted goes on
where it stopped and ends with the same rows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ..adapters import Adapter
from ..generation import Answer, answer_examples, stop_ids
from ..models import LoadedModel
from ..prompts import Encoder, Example, require_fit
from ..runs import Run, Unwatched, Watcher
from ..samples import Prediction, question_name
from .cells import PREDICTIONS, Cell, Written, predict, rows_of
from .chains import Reading, Waiting, chains_of, keys_a_token, reading_cost


class Progress:
    """What the watcher is told of chains as they are read, and of their answers.

    Each piece counts by what it costs, since a token late in a long prefix costs several times an early one's; all of
    them together count as many as there are tokens.
    """

    def __init__(self, watcher: Watcher, title: str, readings: Sequence[Reading], keys: float) -> None:
        self.watcher, self.keys, self.right, self.asked = watcher, keys, 0.0, 0
        tokens, cost = sum(reading.tokens for reading in readings), sum(reading.cost(keys) for reading in readings)
        self.scale = tokens / cost if cost else 0.0
        self.left = iter(readings)
        self.told = 0.0  # of the chain under way
        watcher.begin(title, tokens)

    def piece(self, start: int, stop: int) -> None:
        """A prefix's tokens from `start` to `stop` have been read."""
        self._tell(reading_cost(start, stop, self.keys))

    def read(self, _: Example) -> None:
        """A chain has been read, its questions as well."""
        self._tell(next(self.left).cost(self.keys) - self.told)
        self.told = 0.0

    def writing(self, answers: int) -> None:
        """So many answers are still being written."""
        self.watcher.advance(0, f"{answers} answers to write")

    def answered(self, predictions: Sequence[Prediction]) -> None:
        """Some answers are complete."""
        self.right += sum(prediction.score for prediction in predictions)
        self.asked += len(predictions)

    def _tell(self, cost: float) -> None:
        self.told += cost
        self.watcher.advance(cost * self.scale, f"{self.right:.4g}/{self.asked} right" if self.asked else "reading")


@dataclass(frozen=True)
class Job:
    """An evaluation: cells whose questions are answered as `method`, and the run that keeps the predictions."""

    run: Run
    cells: Sequence[Cell]
    method: str


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
    return evaluate_together(model, [Job(run, cells, method)], adapter=adapter, watcher=watcher, on_rows=on_rows)[0]


def evaluate_together(
    model: LoadedModel,
    jobs: Sequence[Job],
    *,
    adapter: Adapter | None = None,
    watcher: Watcher | None = None,
    on_rows: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
) -> list[list[dict[str, Any]]]:
    """`evaluate` for several jobs on one model: contexts that they have in common are read once. Rows of each job."""
    encoder = Encoder(model.tokenizer, model.window)
    stops = stop_ids(model, encoder.end_of_turn)
    done = [{record["question"] for record in job.run.records(PREDICTIONS)} for job in jobs]
    squares = [(number, cell) for number, job in enumerate(jobs) for cell in job.cells]
    waiting = [_waiting(cell, encoder, model.window, done[number]) for number, cell in squares]
    chains = chains_of(waiting)
    left = [len(examples) for examples in waiting]
    readings = [chain.reading(before) for before, chain in zip([None, *chains], chains, strict=False)]
    title = f"answering as {', '.join(job.method for job in jobs)}"
    progress = Progress(watcher or Unwatched(), title, readings, keys_a_token(model))
    with adapter.attached(model) if adapter is not None else contextlib.nullcontext():
        answered = answer_examples(
            model,
            (chain.example() for chain in chains),
            stops,
            on_piece=progress.piece,
            on_read=progress.read,
            on_step=progress.writing,
        )
        for chain, (_, answers) in zip(chains, answered, strict=True):
            given = iter(answers)
            for place, member in chain.members:
                number, cell = squares[place]
                job, own = jobs[number], [next(given) for _ in member.example.questions]
                predictions = _predictions(encoder, member, own, cell)
                fresh = [prediction for prediction in predictions if prediction.question not in done[number]]
                job.run.append(PREDICTIONS, *(prediction.record() for prediction in fresh))
                progress.answered(predictions)
                left[place] -= 1
                if not left[place]:
                    sample = member.example.sample
                    newest = (sample.task, dict(sample.cell))
                    on_rows(rows_of(job.run.records(PREDICTIONS), job.method, newest=newest))
    progress.watcher.end()
    found = [rows_of(job.run.records(PREDICTIONS), job.method) for job in jobs]
    for job, rows in zip(jobs, found, strict=True):
        job.run.finish({"rows": rows, "native_window": model.native_window, "window": model.window})
    return found


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


def _predictions(encoder: Encoder, waiting: Waiting, answers: Sequence[Answer], cell: Cell) -> list[Prediction]:
    example = waiting.unpacked()
    predictions = []
    for place, answer in enumerate(answers):
        written = Written(
            text=encoder.tokenizer.decode(answer.ids, skip_special_tokens=True),
            tokens=len(example.prompt_ids(example.questions[place])),
            new_tokens=len(answer.ids),
            stopped=answer.stopped,
            notes={"cut_tokens": example.cut_tokens} if example.cut_tokens else {},
        )
        predictions.append(predict(example.sample, place, waiting.kept[place], written, cell.scores))
    return predictions
