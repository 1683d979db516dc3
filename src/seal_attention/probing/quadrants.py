# SPDX-License-Identifier: Apache-2.0
"""A map of heads in quadrants and two factors -> a SEAL-H adapter; a sweep of factors -> rows, and the best adapter.

Before anything is learnt the paper scales the heads whose silencing helps at both sizes (Q1) down and those whose
silencing hurts at both (Q3) up, and gains accuracy (section 3.2). The factors are swept on questions that the map
has never seen, answered by ordinary greedy decoding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch

from .. import adapters
from ..adapters import Adapter, Scales
from ..errors import UsageError
from ..models import LoadedModel
from ..runs import Run
from ..samples import Sample, digest_of
from .ablation import Part
from .heads import HeadsRun, effects_of, quadrant
from .silencing import MEASURES

ADAPTER = "adapter"
NEUTRAL = (1.0, 1.0)

Factors = tuple[float, float]  # of the heads of Q1, and of those of Q3


@dataclass(frozen=True)
class Quadrants:
    """The heads of the first and of the third quadrant of one map."""

    first: tuple[Part, ...]
    third: tuple[Part, ...]

    @classmethod
    def of_run(cls, run: HeadsRun, measure: str) -> Quadrants:
        """Those of a run of `seal probe heads`, between its smallest and its largest cell.

        UsageError where it has but one cell, or where both quadrants are empty.
        """
        maps = run.maps(measure)
        if len(maps) < 2:
            raise UsageError(
                f"{run.folder} holds a map of one size, and quadrants lie between two; run `seal probe heads` with "
                "two, such as --lines 20,80"
            )
        x, y = effects_of(maps[0]), effects_of(maps[-1])
        first, third = (tuple(part for part in x if quadrant(x[part], y[part]) == number) for number in (1, 3))
        if not first and not third:
            other = next(name for name in MEASURES if name != measure)
            raise UsageError(f"no head is in Q1 or Q3 by {measure}; try --by {other}, or a map of more questions")
        return cls(first, third)

    def scaled(self, model: LoadedModel, factors: Factors) -> Scales:
        """The SEAL-H adapter that multiplies the heads of Q1 and of Q3 by their factors and leaves the rest at 1."""
        scales = Scales("seal-h", model.projections)
        names = {projection.layer: projection.name for projection in model.projections}
        with torch.no_grad():
            for parts, factor in zip((self.first, self.third), factors, strict=True):
                for part in parts:
                    scales.values[names[part.layer]][part.head] = factor
        return scales

    def fit(self, model: LoadedModel) -> None:
        """UsageError where the model lacks one of the heads."""
        heads = {projection.layer: projection.heads for projection in model.projections}
        if foreign := [part for part in (*self.first, *self.third) if part.head >= heads.get(part.layer, 0)]:
            raise UsageError(
                f"{model.name} has no head {foreign[0].head} in layer {foreign[0].layer}, which the map has; give the "
                "model that the map was made with"
            )


def parse_factors(option: str, text: str) -> list[float]:
    """`0.9,0.8` -> numbers. UsageError where one is no finite number of at least 0."""
    try:
        factors = [float(part) for part in text.split(",")]
    except ValueError:
        factors = [math.nan]
    if not all(math.isfinite(factor) and factor >= 0 for factor in factors):
        raise UsageError(f"{option} takes factors of at least 0 such as 0.9,0.8, not {text!r}")
    return list(dict.fromkeys(factors))


def grid_of(first: Sequence[float], third: Sequence[float]) -> list[Factors]:
    """The model as it is, then every pair of factors. UsageError where no pair changes anything."""
    pairs = [pair for pair in product(first, third) if pair != NEUTRAL]
    if not pairs:
        raise UsageError("--q1 1 and --q3 1 change nothing; give a factor such as --q1 0.9")
    return [NEUTRAL, *pairs]


def require_held_out(run: HeadsRun, samples: Iterable[Sample], seed: int) -> None:
    """UsageError where the seed is the map's, or where a question was asked for the map already."""
    if seed == run.settings["seed"]:
        raise UsageError(f"--seed {seed} is the map's own, whose texts come again; choose another")
    asked = [digest_of(sample, question) for sample in samples for question in sample.questions]
    known = run.prompts()
    if again := sum(digest in known for digest in asked):
        raise UsageError(
            f"{again} of the {len(asked)} questions were asked for the map already, and a sweep needs others; choose "
            "a task whose text is made from a seed"
        )


def sweep(
    run: Run,
    model: LoadedModel,
    quadrants: Quadrants,
    settings: Sequence[Factors],
    evaluate: Callable[[Path, Factors, Adapter | None], list[dict[str, Any]]],
    notes: Mapping[str, Any],
) -> dict[str, Any]:
    """Evaluate every setting and save the best one's adapter, with `notes` in its seal.json; returns the results.

    `evaluate` answers the questions with an adapter attached, in a run folder of its own, and returns its rows. The
    best is that of the highest mean accuracy over the cells, of equals the one nearest to the model as it is; that is
    never chosen itself.
    """
    rows: list[dict[str, Any]] = []
    means: dict[Factors, float] = {}
    for factors in settings:
        adapter = None if factors == NEUTRAL else quadrants.scaled(model, factors)
        q1, q3 = factors
        found = evaluate(run.folder / "settings" / f"q1-{q1:g}-q3-{q3:g}", factors, adapter)
        rows += [{**row, "q1": q1, "q3": q3} for row in found]
        means[factors] = sum(row["accuracy"] for row in found) / len(found)
    best = max((each for each in settings if each != NEUTRAL), key=lambda each: (means[each], -_distance(each)))
    folder = run.folder / ADAPTER
    adapters.save(quadrants.scaled(model, best), folder, model, {**notes, "q1": best[0], "q3": best[1]})
    results = {
        "probe": "quadrants",
        "rows": rows,
        "q1_heads": [part[:2] for part in quadrants.first],
        "q3_heads": [part[:2] for part in quadrants.third],
        "best": {"q1": best[0], "q3": best[1], "accuracy": means[best], "base_accuracy": means[NEUTRAL]},
        "adapter": str(folder),
    }
    run.finish(results)
    return results


def _distance(factors: Factors) -> float:
    return sum(abs(factor - 1) for factor in factors)
