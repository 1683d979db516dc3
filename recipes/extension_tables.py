# SPDX-License-Identifier: Apache-2.0
"""The run folders of recipes/extension.sh -> Markdown tables: accuracy by length, and what each tuning cost.

python recipes/extension_tables.py runs/extension/short
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from results_tables import cell, rows_of, table

METHODS = ("base", "seal-h", "seal-c")
UNTUNED = "plain"


def by_length(task: Path) -> str:
    """An extension's base and methods, a line each, by length; the model run past its window as it is comes first."""
    held = {(kind, method): rows_of(kind / method) for kind in kinds_of(task) for method in METHODS}
    lengths = sorted({row["length"] for rows in held.values() for row in rows})
    lines = []
    for (kind, method), rows in held.items():
        own = {row["length"]: row for row in rows}
        if rows:
            lines.append([task.name, kind.name, method, *(cell(own.get(length)) for length in lengths)])
    return table(["task", "extension", "method", *(f"{length // 1024}k" for length in lengths)], lines)


def costs(task: Path) -> str:
    """Seconds and peak memory of each tuning, beside those of the same tuning of the plain model."""
    held = {}
    for results in sorted(task.glob("*/*-tuned/results.json")):
        tuning = json.loads(results.read_text(encoding="utf-8"))
        held[results.parent.parent.name, results.parent.name.removesuffix("-tuned")] = tuning
    lines = []
    for (kind, method), own in held.items():
        plain = held.get((UNTUNED, method))
        times = f"{own['tuning_seconds'] / plain['tuning_seconds']:.2f}" if plain else ""
        lines.append([task.name, kind, method, f"{own['tuning_seconds']:.0f}", times, f"{own['tuning_memory_gb']:.2f}"])
    return table(["task", "extension", "method", "seconds", "of the plain model's", "peak, GB"], lines)


def kinds_of(task: Path) -> list[Path]:
    """The folders of the task's extensions, the plain model's first."""
    return sorted((path.parent for path in task.glob("*/base")), key=lambda kind: (kind.name != UNTUNED, kind.name))


def main(folder: Path) -> None:
    """Print both tables of each task."""
    tasks = sorted({path.parents[1] for path in folder.glob("*/*/base")})
    print("\n\n".join(part for task in tasks for part in (by_length(task), costs(task))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
