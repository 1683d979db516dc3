# SPDX-License-Identifier: Apache-2.0
"""Measures of the same heads -> correlations and overlaps, against figures made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seal_attention.errors import UsageError
from seal_attention.probing.agreement import Measure, agreement, measures_of, source_digest
from seal_attention.probing.head_maps import head_map, parse_heads, read_maps, top_heads

LAYERS = [0, 1]


def written(folder: Path, results: dict[str, Any], model: str = "tiny") -> Path:
    """A finished probe."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"command": "probe", "settings": {"model": model}}))
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def probed(
    folder: Path, name: str, *maps: tuple[dict[str, int], list[list[float | None]]], model: str = "tiny"
) -> Path:
    made = [head_map(name, f"map {n}", LAYERS, values, unit="", cell=cell) for n, (cell, values) in enumerate(maps)]
    return written(folder, {"maps": made}, model)


def tuned(folder: Path, heads: list[list[float]]) -> Path:
    adapter = folder / "adapter"
    adapter.mkdir(parents=True)
    seal = {"method": "seal-h", "base": {"name": "tiny"}, "layers": LAYERS, "heads": heads}
    (adapter / "seal.json").write_text(json.dumps(seal))
    return folder


def test_correlations_and_overlaps_equal_those_made_by_hand(tmp_path: Path) -> None:
    scales = tuned(tmp_path / "tuned", [[1.0, 1.2, 0.7], [1.1, 0.9, 1.5]])
    copying = probed(tmp_path / "retrieval", "retrieval_score", ({}, [[0.0, 0.2, 0.1], [0.1, 0.0, 0.9]]),
                     ({"lines": 20}, [[0.0] * 3] * 2))  # fmt: skip
    silenced = probed(
        tmp_path / "heads", "ablation_log_probability", ({"lines": 20}, [[0.1, -2, 0.2], [None, 0.4, -3]])
    )
    measures = [one for folder in (scales, copying, silenced) for one in measures_of(folder)]
    titles = ["seal-h scale", "seal-h |scale - 1|", "retrieval score", "ablation effect"]
    assert [one.title for one in measures] == titles
    found = agreement(measures, [2], seed=0)
    pairs = {(one["a"], one["b"]): one for one in found["correlations"]}
    # scale ranks 3 5 1 4 2 6, retrieval 1.5 5 3.5 3.5 1.5 6
    expected = np.corrcoef([3, 5, 1, 4, 2, 6], [1.5, 5, 3.5, 3.5, 1.5, 6])[0, 1]
    assert pairs["seal-h scale", "retrieval score"]["spearman"] == pytest.approx(expected, abs=1e-4)
    assert pairs["seal-h scale", "retrieval score"]["low"] < expected < pairs["seal-h scale", "retrieval score"]["high"]
    # of the five heads with both: scale ranks 3 4 1 2 5, ablation 3 2 4 5 1, squared differences 38 in all
    assert pairs["seal-h scale", "ablation effect"]["spearman"] == pytest.approx(1 - 6 * 38 / (5 * 24), abs=1e-4)
    assert pairs["seal-h scale", "ablation effect"]["n"] == 5
    shared = {(one["a"], one["b"]): (one["shared"], one["expected"], one["p_value"]) for one in found["overlap"]}
    assert ("seal-h scale", "seal-h |scale - 1|") not in shared
    # heads 1 and 5 stand at the top of scale, retrieval and (lowest) ablation: both of 2 among 6 is one draw in 15
    both = (2, round(4 / 6, 4), pytest.approx(1 / 15, abs=1e-6))
    assert shared["seal-h scale", "retrieval score"] == both
    assert shared["retrieval score", "ablation effect"] == both
    # |scale - 1| is largest for heads 5 and 2
    assert shared["seal-h |scale - 1|", "retrieval score"] == (1, round(4 / 6, 4), pytest.approx(1 - 6 / 15, abs=1e-6))


def test_the_interval_narrows_with_more_heads_and_comes_again_with_the_seed() -> None:
    rng = np.random.default_rng(5)
    widths = []
    for heads in (20, 300):
        first = rng.normal(size=heads)
        pair = [Measure(name, (heads,), values, True, "") for name, values in
                (("a", first), ("b", first + rng.normal(size=heads)))]  # fmt: skip
        found = agreement(pair, [3], seed=1)["correlations"][0]
        assert found == agreement(pair, [3], seed=1)["correlations"][0]
        assert found["low"] < found["spearman"] < found["high"]
        widths.append(found["high"] - found["low"])
    assert widths[1] < widths[0] / 2


def test_a_measure_in_no_order_has_no_correlation() -> None:
    pair = [Measure("a", (4,), np.zeros(4), True, ""), Measure("b", (4,), np.arange(4.0), True, "")]
    assert agreement(pair, [1], seed=0)["correlations"][0]["spearman"] is None


def test_maps_of_several_cells_are_measures_of_their_own(tmp_path: Path) -> None:
    values: list[list[float | None]] = [[0.1, 0.2], [0.3, 0.4]]
    folder = probed(tmp_path / "fast", "first_order", ({"lines": 20}, values), ({"lines": 80}, values))
    assert [one.title for one in measures_of(folder)] == [
        "first-order effect (20 lines)",
        "first-order effect (80 lines)",
    ]
    digest = source_digest(folder)
    (folder / "results.json").write_text("{}")
    assert source_digest(folder) != digest


def test_the_top_heads_of_a_run_are_those_that_matter_most(tmp_path: Path) -> None:
    copying = probed(tmp_path / "a", "retrieval_score", ({}, [[0.0, 0.2], [None, 0.9]]))
    silenced = probed(tmp_path / "b", "ablation_log_probability", ({"lines": 20}, [[0.0, 0.0], [0.0, -9.0]]),
                      ({"lines": 80}, [[0.1, -2.0], [-3.0, 0.0]]))  # fmt: skip
    assert top_heads(read_maps(copying), 2) == [(1, 1), (0, 1)]
    accuracy = head_map("ablation_accuracy", "", LAYERS, [[-1.0, 0.0], [0.0, 0.0]], unit="")
    assert top_heads([accuracy, *read_maps(silenced)], 2) == [(1, 0), (0, 1)]
    nothing = head_map("retrieval_score", "", LAYERS, [[None, None], [None, None]], unit="")
    with pytest.raises(UsageError, match="the run measured no head"):
        top_heads([nothing], 1)
    assert parse_heads("12:3, 14:0,12:3") == [(12, 3), (14, 0)]


def test_what_can_not_be_compared_is_refused(tmp_path: Path) -> None:
    values: list[list[float | None]] = [[0.1, 0.2], [0.3, 0.4]]
    one = probed(tmp_path / "one", "retrieval_score", ({}, values))
    other = probed(tmp_path / "other", "first_order", ({}, [[0.1], [0.2]]))
    effects = probed(tmp_path / "effects", "direct_effect", ({}, values))
    blank = probed(tmp_path / "blank", "first_order", ({}, [[None, None], [None, None]]))
    for folders, says in (
        ([one], "1 measure of heads can't agree"),
        ([one, one], "two of the folders hold the measure 'retrieval score'"),
        ([one, other], "of 2 layers and 4 heads .* of 2 and 2"),
        ([one, blank], "first-order effect measured no head"),
        ([one, effects], "holds none of what can be compared"),
        ([one, tmp_path / "nowhere"], r"holds no results\.json"),
        ([one, written(tmp_path / "empty", {})], "holds no map of heads"),
    ):
        with pytest.raises(UsageError, match=says):
            agreement([measure for folder in folders for measure in measures_of(folder)], [2], 0)
    with pytest.raises(UsageError, match="--top 4 takes in every head of 4"):
        agreement([*measures_of(one), Measure("b", (2, 2), np.zeros(4), True, "")], [4], 0)
    with pytest.raises(UsageError, match="no map here ranks heads"):
        top_heads(read_maps(effects), 1)
    for text in ("12", "12:3;5:0", "1:2,", "1:2:3", ""):
        with pytest.raises(UsageError, match="--heads takes heads as LAYER:HEAD"):
            parse_heads(text)
