# SPDX-License-Identifier: Apache-2.0
"""Spread positions rise, stay within their width, keep the text in order, and are the same whenever drawn."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest

import tiny
from seal_attention.errors import UsageError
from seal_attention.prompts import Example
from seal_attention.runs import Run
from seal_attention.tuning.loop import TuneSettings, tune
from seal_attention.tuning.spreading import GAPS, drawn_positions, spread_positions


def needed(example: Example) -> int:
    """Tokens of the longest prompt and its answer."""
    return len(example.prefix_ids) + max(len(q.suffix_ids) + len(q.answer_ids) for q in example.questions)


def test_positions_rise_and_leave_room_for_the_questions(example: Example) -> None:
    asked = needed(example) - len(example.prefix_ids)
    furthest = 0
    for seed in map(str, range(200)):
        positions = spread_positions(example, 400, seed)
        assert positions is not None
        steps = [after - before for before, after in itertools.pairwise(positions)]
        assert len(positions) == len(example.prefix_ids)
        assert positions[0] == 0
        assert min(steps) >= 1
        assert sum(step > 1 for step in steps) <= GAPS
        assert positions[-1] + 1 + asked <= 400
        furthest = max(furthest, positions[-1] + 1 + asked)
    assert furthest > 380  # the whole width is used now and then


def test_the_same_seed_gives_the_same_positions_and_another_others(example: Example) -> None:
    assert spread_positions(example, 4096, "0/0") == spread_positions(example, 4096, "0/0")
    assert spread_positions(example, 4096, "0/0") != spread_positions(example, 4096, "0/1")


def test_no_room_gives_the_plain_positions_and_too_little_is_refused(example: Example) -> None:
    assert spread_positions(example, needed(example), "0") == tuple(range(len(example.prefix_ids)))
    with pytest.raises(UsageError, match=f"takes {needed(example)} tokens"):
        spread_positions(example, needed(example) - 1, "0")
    assert spread_positions(dataclasses.replace(example, prefix_ids=(1, 2, 3)), 400, "0") is None


def test_a_width_beyond_the_window_is_refused_before_a_step(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "tune", {})
    with pytest.raises(UsageError, match="beyond the window of tiny llama, 512 tokens"):
        tune(run, tiny.load("llama"), [tiny.sample()], TuneSettings("seal-h", 0.1, spread=513), notes={})
    assert not (tmp_path / "run" / "steps.jsonl").exists()


def test_by_lot_some_contexts_stay_as_they_are(example: Example) -> None:
    drawn = [drawn_positions(example, 400, str(seed)) for seed in range(100)]
    assert 30 < sum(positions is None for positions in drawn) < 70
    assert drawn == [drawn_positions(example, 400, str(seed)) for seed in range(100)]
    assert {p for p in drawn if p} <= {spread_positions(example, 400, str(seed)) for seed in range(100)}
