# SPDX-License-Identifier: Apache-2.0
"""What silencing each channel of some heads changed -> strips of changes, one a head, size and measure.

Inside a head the channels differ as the heads do (paper, section 3.3): a few carry nearly all of its effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .heads import NAMES, baseline, named
from .silencing import MEASURES, UNITS, Silenced, in_words
from .stability import interval


def findings(cells: Sequence[Silenced]) -> dict[str, Any]:
    """The results of `seal probe channels` (docs/formats.md)."""
    return {
        "probe": "channels",
        "questions": [baseline(cell) for cell in cells],
        "strips": [
            _strip(cell, measure, layer, head)
            for layer, head in dict.fromkeys((part.layer, part.head) for part in cells[0].parts)
            for cell in cells
            for measure in MEASURES
        ],
    }


def _strip(cell: Silenced, measure: str, layer: int, head: int) -> dict[str, Any]:
    places = [place for place, part in enumerate(cell.parts) if (part.layer, part.head) == (layer, head)]
    changes = cell.changes[measure][:, places]
    low, high = interval(changes)
    rounded = {name: [round(value, 6) for value in values.tolist()]
               for name, values in {"values": changes.mean(0), "low": low, "high": high}.items()}  # fmt: skip
    return {
        "title": f"Change of {NAMES[measure]} with each channel of layer {layer}, head {head} silenced "
        f"({in_words(cell.task, cell.cell)})",
        "measure": measure,
        "layer": layer,
        "head": head,
        **named(cell),
        **rounded,
        "unit": UNITS[measure],
    }
