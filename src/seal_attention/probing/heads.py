# SPDX-License-Identifier: Apache-2.0
"""What silencing each head changed -> head maps, quadrants between sizes, and how steady the order of the heads is.

Pruning one head at a time (paper, section 3.1). A positive change means that the model answers better without the
head. Between two sizes heads fall into the paper's quadrants (3.2): in the first silencing helps at both, in the third
it hurts at both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from ..errors import UsageError
from ..runs import MANIFEST, RESULTS, load_json, read_records
from ..scoring.statistics import wilson_interval
from .ablation import Part
from .head_maps import head_map
from .silencing import MEASURES, RECORDS, UNITS, Silenced, in_words
from .stability import agreement, halves, interval

NAMES = {"accuracy": "accuracy", "log_probability": "the answer's log-probability"}


def findings(cells: Sequence[Silenced]) -> dict[str, Any]:
    """The results of `seal probe heads` (docs/formats.md), from cells in the order of their size."""
    pairs = list(combinations(cells, 2))
    return {
        "probe": "heads",
        "questions": [baseline(cell) for cell in cells],
        "maps": [_map(cell, measure) for cell in cells for measure in MEASURES],
        "scatter": [_scatter(*pair, measure) for pair in pairs for measure in MEASURES],
        "stability": {
            "between": [
                {
                    "measure": measure,
                    "cells": [named(cell) for cell in (first, second)],
                    "heads": len(first.parts),
                    **agreement(first.changes[measure], second.changes[measure]),
                }
                for first, second in pairs
                for measure in MEASURES
            ],
            "halves": [
                {"measure": measure, **named(cell), "heads": len(cell.parts), **halves(cell.changes[measure])}
                for cell in cells
                for measure in MEASURES
            ],
        },
    }


def named(cell: Silenced) -> dict[str, Any]:
    """A cell's task and sizes."""
    return {"task": cell.task, "cell": dict(cell.cell)}


def baseline(cell: Silenced) -> dict[str, Any]:
    """How the model as it is fares in a cell.

    `accuracy` is the share of questions of which greedy decoding writes the reference answer token for token, its end
    included, with Wilson's interval; `log_probability` the mean of the whole answers'.
    """
    right = cell.base["accuracy"]
    low, high = wilson_interval(float(right.sum()), len(right))
    return {
        **named(cell),
        "n": len(right),
        "accuracy": round(float(right.mean()), 4),
        "low": round(low, 4),
        "high": round(high, 4),
        "log_probability": round(float(cell.base["log_probability"].mean()), 4),
    }


def grid(parts: Sequence[Part], values: torch.Tensor) -> tuple[list[int], list[list[float | None]]]:
    """The layers, and a row of heads for each: one value a part, None for a head that was left out."""
    by_head = {(part.layer, part.head): round(float(value), 6) for part, value in zip(parts, values, strict=True)}
    layers = sorted({part.layer for part in parts})
    widest = {layer: max(part.head for part in parts if part.layer == layer) for layer in layers}
    return layers, [[by_head.get((layer, head)) for head in range(widest[layer] + 1)] for layer in layers]


def _map(cell: Silenced, measure: str) -> dict[str, Any]:
    low, high = (grid(cell.parts, ends)[1] for ends in interval(cell.changes[measure]))
    title = f"Change of {NAMES[measure]} with each head silenced ({in_words(cell.task, cell.cell)})"
    layers, values = grid(cell.parts, cell.mean(measure))
    held = head_map(f"ablation_{measure}", title, layers, values, unit=UNITS[measure], **named(cell))
    return {**held, "low": low, "high": high}


def _scatter(first: Silenced, second: Silenced, measure: str) -> dict[str, Any]:
    x, y = first.mean(measure).tolist(), second.mean(measure).tolist()
    titles = [f"change at {in_words(cell.task, cell.cell)}" for cell in (first, second)]
    return {
        "title": f"Change of {NAMES[measure]} with each head silenced, at two sizes",
        "x_title": titles[0],
        "y_title": titles[1],
        "measure": measure,
        "cells": [named(cell) for cell in (first, second)],
        "unit": UNITS[measure],
        "points": [
            {
                "layer": part.layer,
                "head": part.head,
                "x": round(across, 6),
                "y": round(up, 6),
                "quadrant": quadrant(across, up),
            }
            for part, across, up in zip(first.parts, x, y, strict=True)
        ],
    }


def quadrant(x: float, y: float) -> int:
    """1 to 4 as in a school book: (+, +), (-, +), (-, -), (+, -); 0 on an axis."""
    if x == 0 or y == 0:
        return 0
    return {(True, True): 1, (False, True): 2, (False, False): 3, (True, False): 4}[x > 0, y > 0]


def effects_of(head_map: Mapping[str, Any]) -> dict[Part, float]:
    """One of the results' maps, by head."""
    return {
        Part(layer, head): value
        for layer, row in zip(head_map["layers"], head_map["values"], strict=True)
        for head, value in enumerate(row)
        if value is not None
    }


@dataclass(frozen=True)
class HeadsRun:
    """A finished run of `seal probe heads`, for the probes that go on from it."""

    folder: Path
    settings: Mapping[str, Any]
    results: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> HeadsRun:
        """UsageError where the folder holds no such run, or one that is not finished."""
        manifest = load_json(folder / MANIFEST)
        settings = manifest.get("settings", {})
        if manifest.get("command") != "probe" or settings.get("probe") != "heads":
            raise UsageError(f"{folder} holds no run of `seal probe heads`; give the --out folder of one")
        if not (folder / RESULTS).exists():
            raise UsageError(f"the run of `seal probe heads` in {folder} is not finished; run it again to its end")
        return cls(folder, settings, load_json(folder / RESULTS))

    def maps(self, measure: str) -> list[Mapping[str, Any]]:
        """One measure's maps, one a cell, those of the shortest prompts first. UsageError for an unknown measure."""
        if measure not in MEASURES:
            raise UsageError(f"unknown --by {measure!r}; choose {' or '.join(MEASURES)}")
        return [each for each in self.results["maps"] if each["name"] == f"ablation_{measure}"]

    def extremes(self, measure: str) -> tuple[Part, Part]:
        """In the largest cell the head whose silencing helps most, and the one whose silencing hurts most.

        The paper looks inside these two (section 3.3).
        """
        changes = effects_of(self.maps(measure)[-1])
        return max(changes, key=changes.__getitem__), min(changes, key=changes.__getitem__)

    def prompts(self) -> set[str]:
        """Digests of the prompts that were asked."""
        return {digest for record in read_records(self.folder / RECORDS) for digest in record.get("prompts", ())}

    def require_same(self, settings: Mapping[str, Any]) -> None:
        """UsageError naming what differs where the run was asked of another model, adapter or other questions."""
        differing = [
            f"{name} is {self.settings.get(name)!r} there and {value!r} here"
            for name, value in settings.items()
            if self.settings.get(name) != value
        ]
        if differing:
            raise UsageError(f"{self.folder} can't be compared with ({'; '.join(differing)}); repeat its settings")
