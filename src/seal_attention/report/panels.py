# SPDX-License-Identifier: Apache-2.0
"""Runs -> panels: one task of one model at sizes of one unit, the runs side by side.

Everything is computed anew from the predictions, so an unfinished run counts with what it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..samples import Prediction
from .families import place_in_family
from .folders import RunFolder
from .scores import EFFECTIVE, Gain, Score, gain_of, score_of
from .sizes import DEPTH, Size, size_of
from .wording import PREFIXED

Answers = Mapping[str, Prediction]  # by question


@dataclass(frozen=True)
class Panel:
    """All evaluation runs of one model on one task; answers by size, depth (None: anywhere) and the run's label."""

    model: str
    task: str
    runs: tuple[RunFolder, ...]
    cells: Mapping[tuple[Size, int | None, str], Answers]

    @cached_property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes that any run has answers at, smallest first."""
        return tuple(sorted({size for size, _, _ in self.cells}))

    @property
    def unit(self) -> str:
        """What sizes are counted in, the same for all."""
        return self.sizes[0].unit

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """The depths that any run has answers at, shallowest first; none where facts may stand anywhere."""
        return tuple(sorted({depth for _, depth, _ in self.cells if depth is not None}))

    @cached_property
    def binary(self) -> bool:
        """Whether every answer is right or wrong and nothing between."""
        return all(answer.score in (0, 1) for answers in self.cells.values() for answer in answers.values())

    @cached_property
    def rules(self) -> tuple[str, ...]:
        """The names of the task's scores, the benchmark's own first."""
        answers = (answer for held in self.cells.values() for answer in held.values())
        return tuple(dict.fromkeys(rule for answer in answers for rule in answer.scores))

    def answers(self, run: RunFolder, size: Size, depth: int | None = None) -> Answers:
        """A run's answers in one cell, by question; without a depth those at all depths together."""
        if depth is None and self.depths:
            return {name: answer for d in self.depths for name, answer in self.answers(run, size, d).items()}
        return self.cells.get((size, depth, run.label), {})

    def score(self, run: RunFolder, size: Size, depth: int | None = None) -> Score | None:
        """The run's score there, None where it has no answer."""
        return score_of(self.answers(run, size, depth).values())

    def scores(self, size: Size) -> list[Score | None]:
        """The score of every run at a size."""
        return [self.score(run, size) for run in self.runs]

    def gain(self, run: RunFolder, size: Size) -> Gain | None:
        """The run against its base on the questions that both answered, None where there are none."""
        base = base_of(run, self.runs)
        return gain_of(self.answers(base, size), self.answers(run, size)) if base else None

    def effective(self, run: RunFolder) -> Size | None:
        """The longest size where every cell of the run, of that size or shorter, reached `EFFECTIVE`."""
        reached = None
        for size in self.sizes:
            depths: Sequence[int | None] = self.depths or (None,)
            squares = [score for depth in depths if (score := self.score(run, size, depth))]
            if any(square.mean < EFFECTIVE for square in squares):
                break
            reached = size if squares else reached
        return reached

    def measured(self, run: RunFolder) -> tuple[Size, ...]:
        """The sizes that the run has answers at."""
        return tuple(size for size in self.sizes if self.answers(run, size))

    def mixes_depths(self, size: Size) -> bool:
        """Whether the runs were asked at different depths of a size, so that their means over depths differ in kind."""
        asked = [{depth for depth in self.depths if self.answers(run, size, depth)} for run in self.runs]
        return len({frozenset(depths) for depths in asked if depths}) > 1


def base_of(run: RunFolder, runs: Sequence[RunFolder]) -> RunFolder | None:
    """The run of the untouched model that `run` is compared with, under the same prompts; None for base itself.

    A tuned run that was given the answer's first words is held against base given them too, and one under a window
    extension against base under the same, where there is such a run.
    """
    tuned = not run.method.startswith("base")
    base = "base-prefixed" if tuned and run.method.endswith(PREFIXED) else "base"
    bases = [other for other in runs if other.method == base and run.method != "base"]
    bases.sort(key=lambda other: other.extension != run.extension)
    return next(iter(bases), None)


def panels_of(runs: Sequence[RunFolder]) -> list[Panel]:
    """Evaluation runs -> one panel for each model, task, unit of size and having of depths, benchmarks in their order.

    Sizes in lines and in tokens never share a panel, nor do facts at a depth and facts anywhere.
    """
    found: dict[tuple[str, str, str, bool], dict[tuple[Size, int | None, str], dict[str, Prediction]]] = {}
    members: dict[tuple[str, str, str, bool], dict[str, RunFolder]] = {}
    for run in runs:
        for prediction in run.predictions:
            size, depth = size_of(prediction.cell), prediction.cell.get(DEPTH)
            place = (run.model, prediction.task, size.unit, depth is not None)
            found.setdefault(place, {}).setdefault((size, depth, run.label), {})[prediction.question] = prediction
            members.setdefault(place, {})[run.label] = run
    panels = [
        Panel(model, task, tuple(members[model, task, unit, deep].values()), cells)
        for (model, task, unit, deep), cells in found.items()
    ]
    models = list(dict.fromkeys(run.model for run in runs))
    return sorted(panels, key=lambda panel: (models.index(panel.model), place_in_family(panel.task)))
