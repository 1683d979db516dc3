# SPDX-License-Identifier: Apache-2.0
"""A model, maybe with an adapter, and cells of samples -> predictions on disk -> rows of scores with intervals.

Contexts that extend one another (longer sizes of one haystack) are read once, and of those that begin alike (one filler
text) each from where it leaves the one before. Every prediction is kept, one JSON line a question, appended as each
wave of contexts ends. Rows are always recomputed from the whole file, so an evaluation that was interrupted goes on
where it stopped and ends with the same rows.
"""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..adapters import Adapter
from ..generation import Answer, answer_examples, shared_with, stop_ids
from ..models import LoadedModel
from ..prompts import Encoder, Example, common_prefix, joined, require_fit
from ..runs import Run, Unwatched, Watcher
from ..samples import Prediction, question_name
from .cells import PREDICTIONS, Cell, Written, kept_of, predict, rows_of

ASKED = 200  # characters at the end of a context that a prediction shows where its question has no text of its own
OWN = 64  # tokens that the shorter of two prefixes may have to itself: each of its questions reads them again


@dataclass(frozen=True)
class Waiting:
    """An example until its turn comes, four bytes a token: the prefix packed, of the context only the end.

    `kept` is what the predictions keep of the whole prompts, one a question; `tokens` is the example's.
    """

    example: Example
    prefix_ids: array[int]
    kept: tuple[dict[str, Any], ...]
    tokens: int

    @classmethod
    def packed(cls, example: Example) -> Waiting:
        """Let go of whatever is not needed to ask the questions."""
        sample = example.sample
        trimmed = replace(example, sample=replace(sample, context=sample.context[-ASKED:]), prefix_ids=())
        kept = tuple(kept_of(sample, question) for question in sample.questions)
        return cls(trimmed, array("i", example.prefix_ids), kept, example.tokens)

    def unpacked(self) -> Example:
        """The example as it was, but for its context's text."""
        return replace(self.example, prefix_ids=tuple(self.prefix_ids))


@dataclass(frozen=True)
class Chain:
    """Examples whose contexts extend one another, to be read once; `members` pair each with its cell's place."""

    members: tuple[tuple[int, Waiting], ...]

    @property
    def prefix_ids(self) -> array[int]:
        """The longest of its prefixes."""
        return max((waiting.prefix_ids for _, waiting in self.members), key=len)

    def tokens(self, before: Chain | None) -> int:
        """Tokens that pass through the model after `before` has: the longest prefix's own, and every question."""
        questions = sum(waiting.tokens - len(waiting.prefix_ids) for _, waiting in self.members)
        shared = shared_with(self.prefix_ids, before.prefix_ids) if before else 0
        return questions + len(self.prefix_ids) - shared

    def example(self) -> Example:
        """All of them as one."""
        examples = [waiting.unpacked() for _, waiting in self.members]
        return examples[0] if len(examples) == 1 else joined(examples)


@dataclass
class Progress:
    """What the watcher is told: tokens as they are read, each chain's `costs` in full, and how the answers go."""

    watcher: Watcher
    costs: Iterator[int]
    told: int = 0  # of the chain under way
    right: float = 0.0
    asked: int = 0

    def piece(self, tokens: int) -> None:
        """So many tokens of a prefix have been read."""
        self.told += tokens
        self.watcher.advance(tokens, f"{self.right:g}/{self.asked} right" if self.asked else "reading")

    def read(self, _: Example) -> None:
        """A chain has been read, its questions as well."""
        self.piece(next(self.costs) - self.told)
        self.told = 0

    def writing(self, answers: int) -> None:
        """So many answers are still being written."""
        self.watcher.advance(0, f"{answers} answers to write")


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
    watcher = watcher or Unwatched()
    encoder = Encoder(model.tokenizer, model.window)
    stops = stop_ids(model, encoder.end_of_turn)
    done = [{record["question"] for record in job.run.records(PREDICTIONS)} for job in jobs]
    squares = [(number, cell) for number, job in enumerate(jobs) for cell in job.cells]
    waiting = [_waiting(cell, encoder, model.window, done[number]) for number, cell in squares]
    chains = _chains(waiting)
    left = [len(examples) for examples in waiting]
    tokens = [chain.tokens(before) for before, chain in zip([None, *chains], chains, strict=False)]
    watcher.begin(f"answering as {', '.join(job.method for job in jobs)}", sum(tokens))
    progress = Progress(watcher, iter(tokens))
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
                progress.right += sum(prediction.score for prediction in predictions)
                progress.asked += len(predictions)
                left[place] -= 1
                if not left[place]:
                    sample = member.example.sample
                    newest = (sample.task, dict(sample.cell))
                    on_rows(rows_of(job.run.records(PREDICTIONS), job.method, newest=newest))
    watcher.end()
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


def _chains(cells: Sequence[Sequence[Waiting]]) -> list[Chain]:
    """Examples of which one's prefix goes on with the other's together, by the cell of the first of each, then by ids.

    Sorted by their ids, those that begin alike are neighbours.
    """
    members = [(place, waiting) for place, cell in enumerate(cells) for waiting in cell]
    order = {id(waiting): number for number, (_, waiting) in enumerate(members)}
    groups: list[list[tuple[int, Waiting]]] = []
    for member in sorted(members, key=lambda member: member[1].prefix_ids):
        if groups and _extends(groups[-1][-1][1], member[1]):
            groups[-1].append(member)
        else:
            groups.append([member])
    ordered = [tuple(sorted(group, key=lambda member: order[id(member[1])])) for group in groups]
    return sorted(map(Chain, ordered), key=lambda chain: (chain.members[0][0], chain.prefix_ids))


def _extends(first: Waiting, second: Waiting) -> bool:
    """Whether one prefix goes on where the other ends, but for a few tokens."""
    if first.example.sample.max_new_tokens != second.example.sample.max_new_tokens:
        return False
    shorter = min(len(first.prefix_ids), len(second.prefix_ids))
    return shorter > 1 and shorter - common_prefix([first.prefix_ids, second.prefix_ids]) <= min(OWN, shorter // 8)


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
