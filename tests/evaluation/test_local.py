# SPDX-License-Identifier: Apache-2.0
"""Claims about evaluation: every prediction is kept, a rerun goes on where it stopped, rows say what they rest on."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tiny
from seal_attention import generation, shared_prefix
from seal_attention.errors import UsageError
from seal_attention.evaluation.cells import PREDICTIONS, Cell, cell_of, rows_of
from seal_attention.evaluation.chains import Waiting
from seal_attention.evaluation.local import Job, evaluate, evaluate_together
from seal_attention.prompts import Encoder
from seal_attention.runs import Run, Unwatched
from seal_attention.samples import Prediction, digest_of
from seal_attention.shared_prefix import forgets
from seal_attention.tasks.lines import Lines


def cells(count: int = 3) -> list[Cell]:
    """Two sizes of tiny samples, scored by whether the answer holds an `e`."""
    made = []
    for lines in (1, 2):
        samples = [
            replace(
                tiny.sample(),
                identifier=f"tiny/{lines}/{i}",
                context=f"{i} " * lines + tiny.sample().context,
                cell={"lines": lines},
            )
            for i in range(count)
        ]
        made.append(Cell(samples, lambda text, question: {"has_e": float("e" in text)}))
    return made


class StoppedAfter(Unwatched):
    """A person who presses Ctrl-C after some contexts: of each its prefix is read, then its questions."""

    def __init__(self, contexts: int) -> None:
        self.left = 2 * contexts

    def advance(self, cost: float, note: str = "") -> None:
        """Count down, then interrupt."""
        self.left -= cost > 0
        if self.left == 0:
            raise KeyboardInterrupt


def test_resumed_equals_uninterrupted_and_nothing_is_asked_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.load("llama")
    monkeypatch.setattr(generation, "WAVE", 3)  # the questions of one context
    whole = evaluate(Run.open(tmp_path / "whole", "eval", {}), model, cells(), method="base")
    with pytest.raises(KeyboardInterrupt):
        evaluate(Run.open(tmp_path / "cut", "eval", {}), model, cells(), method="base", watcher=StoppedAfter(5))
    run = Run.open(tmp_path / "cut", "eval", {})
    assert len(run.records(PREDICTIONS)) == 12
    assert evaluate(run, model, cells(), method="base") == whole
    assert (tmp_path / "cut" / PREDICTIONS).read_bytes() == (tmp_path / "whole" / PREDICTIONS).read_bytes()


def test_rows_hold_a_cell_each_with_its_interval(tmp_path: Path) -> None:
    rows = evaluate(Run.open(tmp_path / "run", "eval", {}), tiny.load("llama"), cells(), method="base")
    assert [(row["lines"], row["n"]) for row in rows] == [(1, 9), (2, 9)]
    assert list(rows[0]) == ["method", "task", "lines", "tokens", "n", "correct", "accuracy", "low", "high"]
    assert all(row["low"] <= row["accuracy"] <= row["high"] for row in rows)


def test_predictions_survive_the_round_trip_to_json(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "eval", {})
    evaluate(run, tiny.load("llama"), cells(1), method="base")
    for record in run.records(PREDICTIONS):
        assert Prediction.from_record(record).record() == {**record, "answers": tuple(record["answers"])}


def test_a_prompt_beyond_the_window_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    model = tiny.load("llama")
    long = replace(tiny.sample(), identifier="long", context="word " * 600)
    run = Run.open(tmp_path / "run", "eval", {})
    with pytest.raises(UsageError, match="window is 512"):
        evaluate(run, model, [cells()[0], Cell([long], lambda text, question: {"none": 0.0})], method="base")
    assert run.records(PREDICTIONS) == []


def test_what_waits_for_its_turn_is_the_same_example_without_the_text() -> None:
    sample = replace(tiny.sample(), context="word " * 5000 + "the end.")
    example = Encoder(tiny.tokenizer()).encode(sample)
    waiting = Waiting.packed(example)
    assert waiting.prefix_ids.itemsize == 4
    assert len(waiting.example.sample.context) == 200
    assert waiting.example.prefix_ids == ()
    unpacked = waiting.unpacked()
    assert (unpacked.prefix_ids, unpacked.questions, unpacked.tokens) == (
        example.prefix_ids,
        example.questions,
        example.tokens,
    )
    assert waiting.tokens == example.tokens
    assert waiting.kept[0]["prompt"] == digest_of(sample, sample.questions[0])


def test_predictions_keep_the_fact_wherever_it_stands_in_the_text(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "eval", {})
    sample = replace(Lines(5, 5).sample(0, "test", 0), max_new_tokens=1)
    evaluate(
        run,
        tiny.load("llama", max_position_embeddings=1024),
        [Cell([sample], lambda text, question: {"none": 0.0})],
        method="base",
    )
    held = [record["meta"]["passage"][1] for record in run.records(PREDICTIONS)]
    lines = [f"line {each.meta['key']}: REGISTER_CONTENT is <{each.answers[0]}>" for each in sample.questions]
    assert held == lines
    assert min(map(sample.context.index, lines)) < len(sample.context) - 200


def test_a_cell_is_gone_through_once_and_its_samples_may_be_made_on_the_way(tmp_path: Path) -> None:
    model, (first, second) = tiny.load("llama"), cells()
    whole = evaluate(Run.open(tmp_path / "whole", "eval", {}), model, cells(), method="base")
    lazy = [Cell(iter(cell.samples), cell.scores) for cell in (first, second)]
    assert evaluate(Run.open(tmp_path / "lazy", "eval", {}), model, lazy, method="base") == whole


def test_rows_are_told_as_each_cell_ends_the_newest_last(tmp_path: Path) -> None:
    told: list[list[int]] = []
    evaluate(
        Run.open(tmp_path / "run", "eval", {}),
        tiny.load("llama"),
        cells(1)[::-1],
        method="base",
        on_rows=lambda rows: told.append([row["lines"] for row in rows]),
    )
    assert told == [[2], [2, 1]]


def nested(sizes: tuple[int, ...]) -> list[Cell]:
    """A cell a size; a shorter context is the beginning of a longer one."""
    lines = [f"line {word}: {number}, " for number, word in enumerate(("oak", "ash", "elm", "fir", "yew", "bay"))]
    made = []
    for size in sizes:
        samples = [
            replace(tiny.sample(), identifier=f"nested/{size}/{i}", context=f"{i} " + "".join(lines[:size]),
                    cell={"lines": size})
            for i in range(2)
        ]  # fmt: skip
        made.append(Cell(samples, lambda text, question: {"has_e": float("e" in text)}))
    return made


class Costs(Unwatched):
    """Remembers what the job and its pieces cost."""

    def __init__(self) -> None:
        self.whole, self.pieces = 0.0, [0.0][:0]

    def begin(self, title: str, cost: float) -> None:
        """The whole."""
        self.whole = cost

    def advance(self, cost: float, note: str = "") -> None:
        """A piece; writing answers costs nothing that was announced."""
        self.pieces += [cost] if cost else []


@pytest.mark.parametrize("family", ["llama", "mistral", "bloom"])
def test_contexts_that_extend_one_another_are_read_once_and_answered_as_if_apart(tmp_path: Path, family: str) -> None:
    model, sizes = tiny.load(family, torch.float64), (6, 2, 5)
    costs, apart = Costs(), []
    parts = 1 if forgets(model) else 2  # a chain's prefix and its questions, told one after the other
    together = evaluate(Run.open(tmp_path / "all", "eval", {}), model, nested(sizes), method="base", watcher=costs)
    for size in sizes:
        run = Run.open(tmp_path / str(size), "eval", {})
        alone = Costs()
        evaluate(run, model, nested((size,)), method="base", watcher=alone)
        apart += run.records(PREDICTIONS)
        assert len(alone.pieces) == 2 * parts
    names = {record["question"]: record for record in Run.open(tmp_path / "all", "eval", {}).records(PREDICTIONS)}
    assert names == {record["question"]: record for record in apart}
    assert len(costs.pieces) == 2 * parts  # a chain of each index, not of each index and size
    assert sum(costs.pieces) == pytest.approx(costs.whole)
    assert [row["lines"] for row in together] == [2, 5, 6]


def test_a_long_context_is_told_of_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, whole, pieces = tiny.load("llama", torch.float64), Costs(), Costs()
    rows = evaluate(Run.open(tmp_path / "whole", "eval", {}), model, nested((6,)), method="base", watcher=whole)
    monkeypatch.setattr(shared_prefix, "CHUNK", 7)
    again = evaluate(Run.open(tmp_path / "pieces", "eval", {}), model, nested((6,)), method="base", watcher=pieces)
    assert again == rows
    assert sum(pieces.pieces) == pytest.approx(whole.whole)
    assert sum(whole.pieces) == pytest.approx(whole.whole)
    length = len(Encoder(model.tokenizer).encode(nested((6,))[0].samples[0]).prefix_ids)
    first, *later = pieces.pieces[: length // 7]  # of seven tokens each, which meet ever more keys
    assert len(later) > 1
    assert all(one < other for one, other in itertools.pairwise((first, *later)))


def test_jobs_on_the_same_contexts_read_them_once_and_end_as_if_apart(tmp_path: Path) -> None:
    model = tiny.load("llama", torch.float64)

    def opened(name: str, prefix: str) -> Job:
        cell = nested((4,))[0]
        samples = [
            replace(sample, questions=tuple(replace(q, answer_prefix=prefix) for q in sample.questions))
            for sample in cell.samples
        ]
        return Job(Run.open(tmp_path / name, "eval", {}), [replace(cell, samples=samples)], name)

    told: list[str] = []
    costs = Costs()
    together = evaluate_together(
        model,
        [opened("free", ""), opened("given", "It is ")],
        watcher=costs,
        on_rows=lambda rows: told.append(rows[-1]["method"]),
    )
    assert told == ["free", "given"]
    assert len(costs.pieces) == 4
    for rows, name, prefix in zip(together, ("free", "given"), ("", "It is "), strict=True):
        alone = opened(f"{name} alone", prefix)
        apart = evaluate(alone.run, model, alone.cells, method=name)
        assert apart == rows
        written = Run.open(tmp_path / name, "eval", {})
        assert written.records(PREDICTIONS) == alone.run.records(PREDICTIONS)
        assert written.results == {"rows": rows, "native_window": 512, "window": 512}


def test_a_prompt_that_lost_its_middle_is_counted(tmp_path: Path) -> None:
    model = tiny.load("llama")
    long = replace(tiny.sample(), identifier="long", context="word " * 600, cut_middle=True)
    run = Run.open(tmp_path / "run", "eval", {})
    (row,) = evaluate(run, model, [Cell([long], lambda text, question: {"none": 0.0})], method="base")
    assert row["cut"] == row["n"] == 3
    assert all(record["meta"]["cut_tokens"] > 0 for record in run.records(PREDICTIONS))
    (whole,) = evaluate(Run.open(tmp_path / "whole", "eval", {}), model, cells()[:1], method="base")
    assert "cut" not in whole


def test_a_prompt_is_told_by_its_digest() -> None:
    sample = tiny.sample()
    asked = sample.questions[0]
    digests = [
        digest_of(sample, asked),
        digest_of(sample, sample.questions[1]),
        digest_of(replace(sample, context=sample.context + " "), asked),
        digest_of(replace(sample, system="Be brief."), asked),
        digest_of(replace(sample, earlier=(("a", "b"),)), asked),
        digest_of(sample, replace(asked, answer_prefix="So:")),
    ]
    assert len(set(digests)) == len(digests)
    assert digest_of(tiny.sample(), asked) == digests[0]


def made(score: float, cell: dict[str, int], **changes: object) -> dict[str, object]:
    """A prediction's record as far as rows read it."""
    return {"task": "t", "cell": cell, "tokens": 100, "score": score, "scores": {"rule": score}, "meta": {}, **changes}


def test_rows_are_those_of_the_predictions_alone() -> None:
    (row,) = rows_of([made(1.0, {"lines": 5}), made(0.0, {"lines": 5}, tokens=102)], "base")
    assert (row["n"], row["correct"], row["accuracy"], row["tokens"]) == (2, 1, 0.5, 101)


def test_every_size_that_a_task_counts_is_a_cell_of_its_own() -> None:
    records = [made(1.0, {"topics": topics, "depth": depth}) for topics in (10, 5) for depth in (50, 0)]
    rows = rows_of(records, "base")
    assert [cell_of(row) for row in rows] == [
        {"topics": 5, "depth": 0},
        {"topics": 5, "depth": 50},
        {"topics": 10, "depth": 0},
        {"topics": 10, "depth": 50},
    ]


def test_a_second_score_stands_beside_the_first() -> None:
    (row,) = rows_of([made(score, {}, scores={"strict": score, "lenient": 1.0}) for score in (0.0, 0.5)], "base")
    assert (row["accuracy"], row["scores"]) == (0.25, {"strict": 0.25, "lenient": 1.0})
    assert row["low"] < 0.25 < row["high"]
