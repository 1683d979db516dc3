# SPDX-License-Identifier: Apache-2.0
"""Claims about what is typed: sizes and depths make a grid, groups are spelt out, the impossible is refused early."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from seal_attention import tasks
from seal_attention.cli.listing import row_of
from seal_attention.errors import UsageError
from seal_attention.runs import plain
from seal_attention.samples import Question, Sample
from seal_attention.tasks import Wanted
from seal_attention.tasks.lines import Lines
from seal_attention.tasks.selection import Selection
from seal_attention.tasks.task import Split, Task

FORMATS = Path(__file__).parents[2] / "recipes/formats"
LEDGER, LOG = FORMATS / "contract_ledger.yaml", FORMATS / "log_file.yaml"


@dataclass(frozen=True)
class Deep(Task):
    """A sentence of ten tokens at a depth."""

    name: str = field(default="deep", kw_only=True)
    has_depth = True

    def sample(self, seed: int, split: Split, index: int) -> Sample:
        """The sentences."""
        asked = Question("?", ("yes",), "yes")
        return Sample(self.identifier(seed, split, index), self.name, "x" * 10 * self.units, (asked,), 0, self.cell)

    def scores(self, text: str, question: Question) -> dict[str, float]:
        """Nothing is right."""
        return {"none": 0.0}


@dataclass(frozen=True)
class Given(Deep):
    """Four samples of a file."""

    sized = False
    has_depth = False
    usual_questions = (1, 1)


@pytest.fixture(autouse=True)
def _tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Callable[[Wanted], Task]] = {
        "deep": lambda wanted: Deep(1),
        "given": lambda wanted: Given(1, name="given"),
    }
    monkeypatch.setattr(tasks, "TASKS", {"lines": tasks.TASKS["lines"], **made})
    monkeypatch.setitem(tasks.GROUPS, "both", ("lines", "deep"))


def budget(sample: Sample) -> int:
    """A token a character."""
    return len(sample.context)


def cells(typed: str, **options: Any) -> list[Task]:
    """The cells of a selection."""
    return Selection(typed, **options).cells(budget)


def test_without_sizes_lines_has_forty_and_others_a_thousand_tokens() -> None:
    lines, deep = cells("lines,deep")
    assert (lines.units, lines.questions, lines.cell) == (40, 8, {"lines": 40})
    assert (deep.units, deep.length, deep.cell) == (102, 1024, {"length": 1024})


def test_sizes_and_depths_make_a_grid_in_the_order_typed() -> None:
    grid = [task.cell for task in cells("deep", lengths="100,1k", depths="0,50,100")]
    assert grid == [{"length": length, "depth": depth} for depth in (0, 50, 100) for length in (100, 1024)]
    assert [task.cell for task in cells("lines", lines="20, 40")] == [{"lines": 20}, {"lines": 40}]


def test_a_size_or_depth_typed_twice_is_one_cell() -> None:
    assert len(cells("lines", lines="20,20,40")) == 2
    assert len(cells("deep", lengths="1k,1024", depths="50,050")) == 1


def test_a_task_of_a_file_is_one_cell_whatever_the_others_sizes_are() -> None:
    assert [task.name for task in cells("given,lines", lines=None)] == ["given", "lines"]
    assert cells("given")[0].units == 1


def test_tuning_asks_as_many_questions_as_usual_then_and_never_more_than_there_are() -> None:
    assert [task.questions for task in cells("lines", lines="40,10", tuning=True)] == [24, 10]
    assert cells("lines", lines="40", questions=3, tuning=True)[0].questions == 3


def test_groups_are_spelt_out_and_a_task_named_twice_counts_twice() -> None:
    assert Selection("both").weights() == {"lines": 1.0, "deep": 1.0}
    assert Selection("both:0.5,lines:2", tuning=True).weights() == {"lines": 2.5, "deep": 0.5}
    assert [task.name for task in Selection("both,lines").found()] == ["lines", "deep"]


def test_weights_go_by_the_name_of_a_format_not_by_its_path() -> None:
    selection = Selection(f"lines,{LEDGER}:0.5", tuning=True)
    assert selection.weights() == {"lines": 1.0, "contract-ledger": 0.5}
    assert {task.name for task in selection.cells(budget)} == set(selection.weights())


def test_an_evaluation_refuses_weights() -> None:
    with pytest.raises(UsageError, match=r"--task lines,deep:0\.5: weights are for tuning .* leave them out"):
        cells("lines,deep:0.5")
    assert len(cells("lines,deep,lines")) == 2


@pytest.mark.parametrize("option", ["haystack", "data"])
def test_a_path_that_no_task_reads_is_refused(tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=f"--{option} .* is read by none of lines, deep; leave it out"):
        cells("lines,deep", **{option: str(tmp_path)})
    reading = {"reading": lambda wanted: Given(1, name=f"reads {getattr(wanted, option)}")}
    monkeypatch.setattr(tasks, "TASKS", {**tasks.TASKS, **reading})
    assert len(cells("lines,reading", **{option: str(tmp_path)})) == 2


def test_without_a_tokenizer_sizes_in_tokens_are_checked_and_left_out() -> None:
    assert Selection("lines,deep", lengths="1k").cells(None) == []
    with pytest.raises(UsageError, match="--length takes whole numbers"):
        Selection("deep", lengths="long").cells(None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": "lins"}, "unknown --task 'lins'; choose one that .seal tasks. lists .such as lines"),
        ({"tasks": "lines,"}, "unknown --task ''"),
        ({"tasks": "a,b.yaml"}, "there is no file b.yaml; give --task your own format's path, without commas"),
        ({"tasks": "lines:0"}, "a weight must be a number above 0, not 'lines:0'"),
        ({"tasks": "lines", "lines": "20", "lengths": "1k"}, "--lines 20 and --length 1k both set the size"),
        ({"tasks": "deep", "lines": "20"}, "--lines 20 sizes line retrieval alone; give deep a --length"),
        ({"tasks": str(LOG), "lines": "20"}, "--lines 20 sizes line retrieval alone; give log-file a --length"),
        ({"tasks": "given", "lengths": "1k"}, "given is as long as its data; leave --length 1k out"),
        ({"tasks": "lines", "depths": "50"}, "lines has no depth; leave --depths 50 out"),
        ({"tasks": "deep", "depths": "50,101"}, "--depths takes percentages from 0 to 100 .*, not '50,101'"),
        ({"tasks": "deep", "depths": "half"}, "--depths takes percentages .*, not 'half'"),
        ({"tasks": "lines", "lines": "0"}, "--lines takes whole numbers above 0 .*, not '0'"),
        ({"tasks": "deep", "lengths": "4kk"}, "--length takes whole numbers above 0 .*, not '4kk'"),
        ({"tasks": "lines", "lines": "5", "questions": 6}, "--questions must be from 1 to 5 for lines"),
        ({"tasks": "deep", "questions": 0}, "--questions must be at least 1 for deep"),
        ({"tasks": "deep", "lengths": "5"}, r"--length 5 can't hold deep of the smallest size \(1\), which needs 10"),
        ({"tasks": "lines", "lengths": "2k", "questions": 90}, "--length 2,048 can't hold lines of the smallest size"),
    ],
)
def test_the_impossible_is_refused_in_a_sentence(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        Selection(**options).cells(budget)
    assert "\n" not in str(raised.value)


def test_two_formats_of_one_name_are_refused(tmp_path: Path) -> None:
    shutil.copy(LOG, tmp_path / "again.yaml")
    with pytest.raises(UsageError, match="holds two tasks called log-file; give one format another name"):
        Selection(f"{LOG},{tmp_path / 'again.yaml'}").found()


def test_a_run_knows_its_format_by_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "log.yaml"
    shutil.copy(LOG, path)
    before = plain(Selection(str(path)))
    path.write_text("# a comment\n" + path.read_text())
    assert plain(Selection(str(path))) == before
    path.write_text(path.read_text().replace("to: 4999", "to: 4998"))
    assert plain(Selection(str(path)))["formats"] != before["formats"]
    assert plain(Selection("lines"))["formats"] is None
    assert dataclasses.replace(Selection("lines"), tasks=str(path)).formats is not None


def test_every_task_is_listed_with_what_it_asks_its_sizes_and_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    rows = {name: row_of(name) for name in tasks.TASKS}
    assert rows["lines"] == {
        "task": "lines",
        "asks": "LongEval: the number that a line holds, among many lines",
        "sized_by": ["lines", "tokens"],
        "questions_tuned": Lines.usual_questions[0],
        "questions_asked": Lines.usual_questions[1],
        "data": "made",
    }
    assert all(len(row["asks"].split()) > 3 for row in rows.values()), "a task has no line in cli/listing.py"
    assert {name for names in tasks.GROUPS.values() for name in names} <= set(rows)
