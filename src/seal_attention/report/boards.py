# SPDX-License-Identifier: Apache-2.0
"""Panels -> boards: the tasks of one benchmark at the same sizes, with their average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .families import family_name, family_of, family_size
from .folders import RunFolder
from .panels import Panel, base_of
from .scores import EFFECTIVE, Gain, Score, average_gain, average_score
from .sizes import TOKENS, Size, unit_noun


@dataclass(frozen=True)
class Board:
    """Several tasks of one model: those of a benchmark (`family`) by length, or those without sizes.

    Averages are taken of a benchmark only, and only where all of the board's tasks were answered: one over fewer tasks
    could not stand beside the others.
    """

    model: str
    family: str
    panels: tuple[Panel, ...]

    @property
    def task(self) -> str:
        """What the tasks are called together: a benchmark by its name only where they are all of its tasks."""
        if not self.family:
            return ", ".join(panel.task for panel in self.panels)
        held, total, name = len(self.panels), family_size(self.family), family_name(self.family)
        return name if held == total else f"{held} of {total} {name} tasks"

    @cached_property
    def runs(self) -> tuple[RunFolder, ...]:
        """The runs that answered any of the tasks, baselines first as in every panel; of those with one name one."""
        ordered = sorted(
            ((place, run) for panel in self.panels for place, run in enumerate(panel.runs)), key=lambda pair: pair[0]
        )
        return tuple({run.label: run for _, run in ordered}.values())

    @cached_property
    def pieced(self) -> dict[str, tuple[RunFolder, ...]]:
        """The names that several runs have, with those runs: no two of them answered the same task."""
        folders = {run.folder: run for panel in self.panels for run in panel.runs}
        named = {run.label: tuple(held for held in folders.values() if held.label == run.label) for run in self.runs}
        return {label: held for label, held in named.items() if len(held) > 1}

    @cached_property
    def sizes(self) -> tuple[Size, ...]:
        """The sizes of any task, smallest first."""
        return tuple(sorted({size for panel in self.panels for size in panel.sizes}))

    @property
    def unit(self) -> str:
        """What sizes are counted in, the same for all."""
        return self.sizes[0].unit

    @cached_property
    def binary(self) -> bool:
        """Whether every answer to every task is right or wrong."""
        return all(panel.binary for panel in self.panels)

    @cached_property
    def rules(self) -> tuple[str, ...]:
        """The names of the tasks' scores, the benchmark's own first; none where tasks are scored by different rules."""
        alike = len({panel.rules for panel in self.panels}) == 1
        return self.panels[0].rules if alike else ()

    def score(self, run: RunFolder, size: Size) -> Score | None:
        """The average over all tasks, each counting the same; None where one is missing or there is no benchmark."""
        scores = [score for panel in self.panels if (score := panel.score(run, size))]
        return average_score(scores) if self.family and len(scores) == len(self.panels) else None

    def scores(self, size: Size) -> list[Score | None]:
        """The average of every run at a size."""
        return [self.score(run, size) for run in self.runs]

    def answered(self, run: RunFolder, size: Size) -> int:
        """How many of the tasks the run has answers to."""
        return sum(bool(panel.answers(run, size)) for panel in self.panels)

    def gain(self, run: RunFolder, size: Size) -> Gain | None:
        """What the run gained on average over base, on the questions that both answered; None as for `score`."""
        base = base_of(run, self.runs)
        if not self.family or base is None or not (self.score(run, size) and self.score(base, size)):
            return None
        gains = [gain for panel in self.panels if (gain := panel.gain(run, size))]
        return average_gain(gains) if len(gains) == len(self.panels) else None

    def effective(self, run: RunFolder) -> Size | None:
        """The longest size where the average, as at every shorter one, reached `EFFECTIVE`."""
        reached = None
        for size in self.measured(run):
            score = self.score(run, size)
            if score is None or score.mean < EFFECTIVE:
                break
            reached = size
        return reached

    def measured(self, run: RunFolder) -> tuple[Size, ...]:
        """The sizes that the run has an average at."""
        return tuple(size for size in self.sizes if self.score(run, size))


Exhibit = Panel | Board


def exhibits_of(panels: Sequence[Panel]) -> list[Exhibit]:
    """Panels -> boards where tasks belong together, boards of each model first; all others stay as they are."""
    groups: dict[tuple[str, str, str], list[Panel]] = {}
    for place, panel in enumerate(panels):
        unit, family = panel.unit, family_of(panel.task)
        together = not panel.depths and (not unit or (unit == TOKENS and family))
        groups.setdefault((panel.model, unit, family if together else f"/{place}"), []).append(panel)
    exhibits: list[Exhibit] = [
        Board(model, family, tuple(held)) if len(held) > 1 else held[0] for (model, _, family), held in groups.items()
    ]
    models = list(dict.fromkeys(panel.model for panel in panels))
    exhibits.sort(key=lambda exhibit: (models.index(exhibit.model), isinstance(exhibit, Panel)))
    return exhibits


def titles(exhibits: Sequence[Exhibit]) -> list[str]:
    """What each is called: its task, with model, sizes or depths where only they tell two apart."""
    models = len({exhibit.model for exhibit in exhibits}) > 1
    names = [f"{exhibit.model}, {exhibit.task}" if models else exhibit.task for exhibit in exhibits]
    repeated = {name for name in names if names.count(name) > 1}
    for place, exhibit in enumerate(exhibits):
        if isinstance(exhibit, Panel) and names[place] in repeated:
            depths = ", at depths" if exhibit.depths else ""
            names[place] += f", sized in {unit_noun(exhibit.unit)}{depths}" if exhibit.unit else depths
    return names
