# SPDX-License-Identifier: Apache-2.0
"""Claims about the benchmarks' bookkeeping: sides in turn, nothing measured twice, what failed is told and left out."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SIDES = """
def fine(seconds):
    return {"seconds": seconds}

def broken():
    raise ValueError("no such luck")
"""


@pytest.fixture
def pairing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module, and a comparison's module that fresh processes find."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    (tmp_path / "made_up_sides.py").write_text(SIDES)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    return importlib.import_module("pairing")


def compared(pairing: Any, function: str = "fine", **settings: Any) -> Any:
    """Ours in 2 seconds against theirs, twice."""
    sides = {
        "ours": pairing.Side("fine", {"seconds": 2.0}, 1.0),
        "theirs": pairing.Side(function, settings, 1.0),
    }
    return pairing.Comparison("made_up", "made_up_sides", sides, 2)


def test_sides_take_turns_and_an_interrupted_bench_measures_only_what_is_missing(pairing: Any, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    comparison = compared(pairing, seconds=6.0)
    jobs = comparison.jobs()
    assert [job.side_name for job in jobs] == ["ours", "theirs", "ours", "theirs"]
    assert pairing.measure(jobs[:3], pairing.Records.open(file), lambda text: None) == []
    assert len(pairing.Records.open(file).repeats(comparison)) == 1
    with file.open("a") as cut_off:
        cut_off.write('{"job": {"compar')
    again = pairing.Records.open(file)
    missing = [job for job in jobs if again.figures(job) is None]
    assert missing == jobs[3:]
    pairing.measure(missing, again, lambda text: None)
    pair = {"ours": {"seconds": 2.0}, "theirs": {"seconds": 6.0}}
    assert pairing.Records.open(file).repeats(comparison) == [pair, pair]


def test_figures_of_other_settings_do_not_count(pairing: Any, tmp_path: Path) -> None:
    records = pairing.Records.open(tmp_path / "pairs.jsonl")
    pairing.measure(compared(pairing, seconds=6.0).jobs(), records, lambda text: None)
    assert records.repeats(compared(pairing, seconds=7.0)) == []


def test_a_side_that_fails_is_told_once_and_leaves_its_pair_out(pairing: Any, tmp_path: Path) -> None:
    comparison = compared(pairing, "broken")
    records = pairing.Records.open(tmp_path / "pairs.jsonl")
    (failure,) = pairing.measure(comparison.jobs(), records, lambda text: None)
    assert "no such luck" in failure
    assert records.repeats(comparison) == []


def test_the_headline_is_the_better_peer_and_checkpointed_only_where_nothing_else_fits(pairing: Any) -> None:
    tuning_cost = importlib.import_module("tuning_cost")
    (comparison,) = (
        one for one in tuning_cost.comparisons(pairing.Asked(False, 1, None, Path())) if one.name == "tuning_4k"
    )
    sides = {
        "ours": {"seconds": 1.0, "memory_bytes": 400},
        "trainer_ia3": {"seconds": 6.0, "memory_bytes": 900},
        "ours_checkpoint": {"seconds": 1.5, "memory_bytes": 100},
        "trainer_lora": {"seconds": 5.0, "memory_bytes": 1000},
        "trainer_ia3_checkpoint": {"seconds": 8.0, "memory_bytes": 300},
    }
    assert set(sides) == set(comparison.sides)
    ratios = tuning_cost.summarise(comparison, [sides])["ratios"]
    assert ratios["tuning_seconds_per_question_4k"] == {"median": 5.0, "low": 5.0, "high": 5.0, "pairs": 1}
    assert ratios["tuning_memory_4k"]["median"] == 9.0
    unfit = {"does_not_fit": {"needed_bytes": 2, "free_bytes": 1}}
    ratios = tuning_cost.summarise(comparison, [{**sides, "trainer_ia3": unfit, "trainer_lora": unfit}])["ratios"]
    assert ratios["tuning_seconds_per_question_4k"]["median"] == 8.0
    assert ratios["tuning_memory_4k"]["median"] == 3.0
