# SPDX-License-Identifier: Apache-2.0
"""The run folders of recipes/results.sh -> the Markdown tables of docs/results.md, as far as they have been computed.

python recipes/results_tables.py runs/results > runs/results/tables.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

TESTED_AT = 2048  # tokens, of the transfer matrix
Row = Mapping[str, Any]


def rows_of(run: Path) -> list[Row]:
    """The rows of an evaluation, [] while it is not complete."""
    results = run / "results.json"
    return json.loads(results.read_text(encoding="utf-8"))["rows"] if results.exists() else []


def cell(row: Row | None) -> str:
    """A score with its interval."""
    return f"{row['accuracy']:.2f} ({row['low']:.2f}-{row['high']:.2f})" if row else ""


def table(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    ruled = [list(header), ["---"] * len(header), *map(list, lines)]
    return "\n".join(f"| {' | '.join(line)} |" for line in ruled)


def by_length(folder: Path, tasks: Sequence[str]) -> str:
    """Base and methods, a line each, by length; tuned on the task they are asked."""
    methods = ("base", "seal-h", "seal-c")
    held = {(task, method): rows_of(folder / task / method) for task in tasks for method in methods}
    lengths = sorted({row["length"] for rows in held.values() for row in rows})
    lines = []
    for (task, method), rows in held.items():
        own = {row["length"]: row for row in rows}
        lines.append([task, method, *(cell(own.get(length)) for length in lengths)])
    return table(["task", "method", *(f"{length // 1024}k" for length in lengths)], lines)


def across(folder: Path, tasks: Sequence[str]) -> str:
    """SEAL-C tuned on a line's task, asked a column's; the mixture's adapter last."""
    sources = {task: [*rows_of(folder / task / "elsewhere"), *rows_of(folder / task / "seal-c")] for task in tasks}
    sources["all of them"] = rows_of(folder / "mixture")
    lines = []
    for source, rows in sources.items():
        own = {row["task"]: row for row in rows if row.get("length") == TESTED_AT}
        lines.append([source, *(f"{own[task]['accuracy']:.2f}" if task in own else "" for task in tasks)])
    return table(["tuned on", *tasks], lines)


def main(folder: Path) -> None:
    """Print both tables."""
    tasks = sorted(path.parent.name for path in folder.glob("*/base"))
    print(by_length(folder, tasks), across(folder, tasks), sep="\n\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
