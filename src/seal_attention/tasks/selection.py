# SPDX-License-Identifier: Apache-2.0
"""Tasks, sizes and depths as typed -> tasks, one a cell; what can be refused without a tokenizer is refused first."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import UsageError
from . import GROUPS, Wanted, find
from .mixture import parse_weights
from .own_format import SUFFIXES, load_format
from .sizing import Budget, of_length, of_units, parse_counts, smallest_of
from .task import Task


@dataclass(frozen=True)
class Selection:
    """What was typed: `tasks` with commas and weights, sizes in `lines` or tokens (`lengths`), `depths` in percent.

    `formats` follows from it: a digest of each format of the user's own, so that no run goes on after one was changed.
    """

    tasks: str
    lines: str | None = None
    lengths: str | None = None
    depths: str | None = None
    questions: int | None = None
    prefixed: bool = False
    haystack: str | None = None
    data: str | None = None
    tuning: bool = False
    formats: dict[str, str] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        own = [name for name in self._named() if name.lower().endswith(SUFFIXES)]
        digests = {name: load_format(Path(name)).format.digest for name in own}
        object.__setattr__(self, "formats", digests or None)

    def _named(self) -> dict[str, float]:
        """The names as typed and their weights, groups spelt out; what is named twice counts twice."""
        weights: dict[str, float] = {}
        for part, weight in parse_weights(self.tasks).items():
            for name in GROUPS.get(part, (part,)):
                weights[name] = weights.get(name, 0.0) + weight
        return weights

    def weights(self) -> dict[str, float]:
        """The weight of each task, by the task's own name."""
        return {task.name: weight for task, weight in zip(self.found(), self._named().values(), strict=True)}

    def found(self) -> list[Task]:
        """The tasks by name, at a size of their own. UsageError for whatever can't be meant."""
        if self.lines and self.lengths:
            raise UsageError(f"--lines {self.lines} and --length {self.lengths} both set the size; give one of them")
        haystack, data = (Path(given) if given else None for given in (self.haystack, self.data))
        wanted = Wanted(self.questions, self.tuning, self.prefixed, haystack, data)
        tasks = [find(name, wanted) for name in self._named()]
        names = [task.name for task in tasks]
        self._refuse_unused(wanted, tasks)
        if twice := [name for name in names if names.count(name) > 1]:
            raise UsageError(f"--task {self.tasks} holds two tasks called {twice[0]}; give one format another name")
        for task in tasks:
            if self.lines and task.unit != "lines":
                raise UsageError(f"--lines {self.lines} sizes line retrieval alone; give {task.name} a --length (1k)")
            if self.lengths and not task.sized:
                raise UsageError(f"{task.name} is as long as its data; leave --length {self.lengths} out")
            if self.depths and not task.has_depth:
                raise UsageError(f"{task.name} has no depth; leave --depths {self.depths} out, or ask for needle")
        return tasks

    def _refuse_unused(self, wanted: Wanted, tasks: list[Task]) -> None:
        """UsageError for a weight that an evaluation would not look at, and for a path that none of the tasks reads."""
        typed = [weight for part in self.tasks.split(",") for weight in parse_weights(part).values()]
        if not self.tuning and any(weight != 1 for weight in typed):
            raise UsageError(
                f"--task {self.tasks}: weights are for tuning and an evaluation asks every task alike; leave them out"
            )
        unread = {"haystack": replace(wanted, haystack=None), "data": replace(wanted, data=None)}
        for option, without in unread.items():
            if without != wanted and tasks == [find(name, without) for name in self._named()]:
                path, names = getattr(wanted, option), ", ".join(task.name for task in tasks)
                raise UsageError(f"--{option} {path} is read by none of {names}; leave it out")

    def cells(self, budget: Budget | None, default_lines: str = "40", default_length: str = "1k") -> list[Task]:
        """One task a cell: every task at every size and depth.

        `budget` counts tokens for sizes typed in tokens; without it those are only checked, and left out.
        """
        cells: list[Task] = []
        for task in self.found():
            in_lines = self.lines or (default_lines if task.unit == "lines" and not self.lengths else None)
            for deep in self._at_depths(task):
                if not task.sized:
                    cells.append(of_units(deep, task.units, self.questions, self.tuning))
                elif in_lines:
                    sizes = dict.fromkeys(parse_counts("--lines", in_lines))  # a size typed twice is one cell
                    cells += [of_units(deep, size, self.questions, self.tuning) for size in sizes]
                else:
                    lengths = dict.fromkeys(parse_counts("--length", self.lengths or default_length))
                    if budget is None:
                        smallest_of(deep, self.questions or 1)  # more questions than any size allows show here
                        deep.sample(0, "train" if self.tuning else "test", 0)  # data that is missing shows here
                    else:
                        cells += [of_length(deep, size, self.questions, budget, self.tuning) for size in lengths]
        return cells

    def _at_depths(self, task: Task) -> list[Task]:
        if not self.depths:
            return [task]
        return [replace(task, depth=depth) for depth in parse_percentages(self.depths)]


def parse_percentages(text: str) -> list[int]:
    """`0,50,100` -> numbers. UsageError where one is not a whole number from 0 to 100."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) <= 100 for part in parts):
        raise UsageError(f"--depths takes percentages from 0 to 100 such as 0,25,50,75,100, not {text!r}")
    return list(dict.fromkeys(map(int, parts)))
