# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/results.md hold what has been computed, and blanks for what has not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "recipes" / "results_tables.py"


def finished(run: Path, task: str, lengths: list[int], accuracy: float) -> None:
    """A complete evaluation."""
    rows = [{"task": task, "length": n, "accuracy": accuracy, "low": accuracy - 0.1, "high": 1.0} for n in lengths]
    run.mkdir(parents=True)
    (run / "results.json").write_text(json.dumps({"rows": rows}))


def test_a_line_a_task_and_method_and_a_matrix_with_blanks_where_nothing_is_known(tmp_path: Path) -> None:
    finished(tmp_path / "lines" / "base", "lines", [1024, 2048], 0.25)
    finished(tmp_path / "lines" / "seal-c", "lines", [2048], 0.75)
    finished(tmp_path / "lines" / "elsewhere", "vt", [2048], 0.5)
    finished(tmp_path / "mixture", "vt", [2048], 0.625)
    (tmp_path / "vt" / "base").mkdir(parents=True)  # begun, not complete
    printed = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=True).stdout
    first, second = printed.split("\n\n")
    assert first.splitlines()[:5] == [
        "| task | method | 1k | 2k |",
        "| --- | --- | --- | --- |",
        "| lines | base | 0.25 (0.15-1.00) | 0.25 (0.15-1.00) |",
        "| lines | seal-h |  |  |",
        "| lines | seal-c |  | 0.75 (0.65-1.00) |",
    ]
    assert second.splitlines()[2:] == [
        "| lines | 0.75 | 0.50 |",
        "| vt |  |  |",
        "| all of them |  | 0.62 |",
    ]
