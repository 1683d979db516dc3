# SPDX-License-Identifier: Apache-2.0
"""A figure of each head -> the map of it that a probe's results.json holds, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..runs import RESULTS, load_json

Values = Sequence[Sequence[float | None]]  # layers, then heads; None where nothing was measured


def head_map(
    name: str,
    title: str,
    layers: Sequence[int],
    values: Values,
    *,
    unit: str,
    neutral: float = 0.0,
    task: str | None = None,
    cell: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """One map as it is written: `values` by layer and head, `neutral` the value of a head that does nothing.

    `task` and `cell` stand where the figures are of one cell alone.
    """
    rounded = [[None if v is None or not math.isfinite(v) else round(v, 6) for v in row] for row in values]
    where = {**({"task": task} if task else {}), "cell": dict(cell or {})}
    figures = {"layers": list(layers), "values": rounded, "neutral": neutral, "unit": unit}
    return {"name": name, "title": title, **where, **figures}


def read_maps(folder: Path) -> list[dict[str, Any]]:
    """The maps of a finished probe. UsageError where the folder holds none."""
    if not (folder / RESULTS).exists():
        raise UsageError(
            f"{folder} holds no {RESULTS}: it is no run folder or its run has not ended; give a finished run"
        )
    maps = load_json(folder / RESULTS).get("maps")
    if not maps:
        raise UsageError(f"{folder} holds no map of heads; give a run of `seal probe heads`, fast or retrieval")
    return list(maps)


def parse_heads(text: str) -> list[tuple[int, int]]:
    """`12:3,14:0` -> (layer, head) pairs. UsageError where one is not two whole numbers."""
    pairs = []
    for part in text.split(","):
        layer, colon, head = part.strip().partition(":")
        if not (colon and layer.isdecimal() and head.isdecimal()):
            raise UsageError(f"--heads takes heads as LAYER:HEAD such as 12:3,5:0, or a run folder, not {text!r}")
        pairs.append((int(layer), int(head)))
    return list(dict.fromkeys(pairs))


# Of the maps that a probe writes, the best first: which end of the scale the heads stand at that matter to the answer.
MATTER_MOST = {"retrieval_score": max, "ablation_log_probability": min, "ablation_accuracy": min, "first_order": min}


def top_heads(maps: Sequence[Mapping[str, Any]], count: int) -> list[tuple[int, int]]:
    """The (layer, head) pairs that matter most, foremost first, by the best map that says so.

    High retrieval scores, or the largest losses where the head is silenced; over all cells, or in the largest (last).
    UsageError where no map says it.
    """
    held_by_name = {name: [one for one in maps if one["name"] == name] for name in MATTER_MOST}
    found = next((several for several in held_by_name.values() if several), None)
    if found is None:
        raise UsageError(
            f"no map here ranks heads (found {', '.join(sorted({one['name'] for one in maps}))}); give a run of "
            "`seal probe retrieval`, heads or fast"
        )
    ranked = next((one for one in found if not one["cell"]), found[-1])
    sign = -1 if MATTER_MOST[ranked["name"]] is max else 1
    held = [
        (sign * value, layer, head)
        for layer, row in zip(ranked["layers"], ranked["values"], strict=True)
        for head, value in enumerate(row)
        if value is not None
    ]
    if not held:
        raise UsageError("the run measured no head, since no answer counted; ask it more, or easier questions")
    return [(layer, head) for _, layer, head in sorted(held)[:count]]
