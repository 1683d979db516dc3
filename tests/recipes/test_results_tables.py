# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/results.md hold what has been computed, and blanks for what has not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

RECIPES = Path(__file__).parents[2] / "recipes"
SAID = {"capture_output": True, "text": True, "check": True}


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
    printed = subprocess.run([sys.executable, RECIPES / "results_tables.py", tmp_path], **SAID).stdout
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


def tuned(run: Path, seconds: float, peak: float) -> None:
    """A complete tuning."""
    run.mkdir(parents=True)
    (run / "results.json").write_text(json.dumps({"tuning_seconds": seconds, "tuning_memory_gb": peak}))


def test_each_extension_has_its_scores_and_its_price_beside_the_plain_windows(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    for kind, accuracy in (("ntk", 0.5), ("plain", 0.0)):
        finished(lines / kind / "base", "lines", [2048, 8192], accuracy)
    finished(lines / "ntk" / "seal-c", "lines", [2048], 0.75)
    tuned(lines / "plain" / "seal-c-tuned", 100.0, 2.0)
    tuned(lines / "ntk" / "seal-c-tuned", 150.0, 3.0)
    tuned(lines / "ntk" / "seal-h-tuned", 90.0, 1.0)
    printed = subprocess.run([sys.executable, RECIPES / "extension_tables.py", tmp_path], **SAID).stdout
    scores, prices = printed.split("\n\n")
    assert scores.splitlines() == [
        "| task | extension | method | 2k | 8k |",
        "| --- | --- | --- | --- | --- |",
        "| lines | plain | base | 0.00 (-0.10-1.00) | 0.00 (-0.10-1.00) |",
        "| lines | ntk | base | 0.50 (0.40-1.00) | 0.50 (0.40-1.00) |",
        "| lines | ntk | seal-c | 0.75 (0.65-1.00) |  |",
    ]
    assert prices.splitlines()[2:] == [
        "| lines | ntk | seal-c | 150 | 1.50 | 3.00 |",
        "| lines | ntk | seal-h | 90 |  | 1.00 |",
        "| lines | plain | seal-c | 100 | 1.00 | 2.00 |",
    ]
