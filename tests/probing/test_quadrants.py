# SPDX-License-Identifier: Apache-2.0
"""Quadrant adapters equal weights scaled by hand; a sweep keeps the best; what can't be meant is refused."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from adapting import logits
from seal_attention import adapters
from seal_attention.adapters import Adapter
from seal_attention.errors import UsageError
from seal_attention.probing.ablation import Part
from seal_attention.probing.heads import HeadsRun
from seal_attention.probing.quadrants import NEUTRAL, Quadrants, grid_of, parse_factors, require_held_out, sweep
from seal_attention.runs import Run
from seal_attention.samples import digest_of

QUADRANTS = Quadrants(first=(Part(0, 1), Part(1, 3)), third=(Part(1, 0),))


def heads_run(folder: Path, *maps: list[list[float]]) -> HeadsRun:
    """A finished run of `seal probe heads` with a map a size, the same for both measures."""
    run = Run.open(folder, "probe", {"probe": "heads", "seed": 3})
    sample = tiny.sample()
    prompts = [digest_of(sample, question) for question in sample.questions]
    run.append("ablations.jsonl", {"sample": "tiny/0", "layer": None, "prompts": prompts})
    drawn = [
        {
            "name": f"ablation_{measure}",
            "task": "lines",
            "cell": {"lines": size},
            "layers": list(range(len(values))),
            "values": values,
        }
        for size, values in enumerate(maps)
        for measure in ("accuracy", "log_probability")
    ]
    run.finish({"maps": drawn})
    return HeadsRun.read(folder)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral"])
def test_the_adapter_equals_scaling_by_hand(name: str) -> None:
    model = tiny.load(name, torch.float64)
    by_hand = copy.deepcopy(model.model)
    scales = QUADRANTS.scaled(model, (0.5, 1.25))  # factors that float32 holds exactly
    for projection in model.projections:
        weight = replace(projection, module=by_hand.get_submodule(projection.name)).weight
        for part, factor in ((Part(0, 1), 0.5), (Part(1, 3), 0.5), (Part(1, 0), 1.25)):
            if part.layer == projection.layer:
                start = part.head * projection.head_size
                with torch.no_grad():
                    weight[:, start : start + projection.head_size] *= factor
    with tiny.Float64():
        with scales.attached(model):
            found = logits(model)
        assert torch.allclose(found, logits(replace(model, model=by_hand)), rtol=0, atol=1e-9)
        assert not torch.allclose(found, logits(model), atol=1e-3)


def test_heads_are_taken_where_silencing_helps_or_hurts_at_both_ends(tmp_path: Path) -> None:
    run = heads_run(tmp_path, [[1.0, -1.0], [1.0, -1.0]], [[-9.0, 9.0], [-9.0, 9.0]], [[2.0, -2.0], [-2.0, 0.0]])
    assert Quadrants.of_run(run, "accuracy") == Quadrants((Part(0, 0),), (Part(0, 1),))
    assert run.extremes("accuracy") == (Part(0, 0), Part(0, 1))


def test_a_sweep_keeps_the_best_setting_as_an_adapter(tmp_path: Path) -> None:
    model = tiny.load("llama")
    settings = grid_of(parse_factors("--q1", "1,0.9"), parse_factors("--q3", "1,1.5,4"))
    assert settings == [(1, 1), (1, 1.5), (1, 4), (0.9, 1), (0.9, 1.5), (0.9, 4)]
    asked: list[Path] = []

    def evaluate(folder: Path, factors: tuple[float, float], adapter: Adapter | None) -> list[dict[str, Any]]:
        asked.append(folder)
        assert (adapter is None) == (factors == NEUTRAL)
        best = factors[1] == 1.5
        return [{"accuracy": 0.5}, {"accuracy": 0.4 if best else 0.3}]  # two settings share the best mean

    results = sweep(Run.open(tmp_path / "run", "probe", {}), model, QUADRANTS, settings, evaluate, {"task": "lines"})
    assert len(set(asked)) == len(settings)
    assert [(row["q1"], row["q3"]) for row in results["rows"][::2]] == settings
    assert results["best"] == {"q1": 1.0, "q3": 1.5, "accuracy": 0.45, "base_accuracy": 0.4}
    loaded = adapters.load(Path(results["adapter"]), model)
    for name, values in QUADRANTS.scaled(model, (1.0, 1.5)).values.items():
        assert torch.equal(loaded.parameters()[name], values)
    seal = adapters.describe(Path(results["adapter"]))
    assert (seal["method"], seal["q1"], seal["q3"], seal["task"]) == ("seal-h", 1.0, 1.5, "lines")


def test_questions_of_the_map_are_not_asked_again(tmp_path: Path) -> None:
    run = heads_run(tmp_path, [[0.0], [0.0]])
    with pytest.raises(UsageError, match="--seed 3 is the map's own"):
        require_held_out(run, [], 3)
    with pytest.raises(UsageError, match="3 of the 6 questions were asked for the map already"):
        require_held_out(run, [tiny.sample(), replace(tiny.sample(), context="Another. ")], 4)
    require_held_out(run, [replace(tiny.sample(), context="Another. ")], 4)


def test_what_makes_no_sweep_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="change nothing"):
        grid_of([1.0], [1.0])
    for text in ("0.9;1", "-1", "nan", ""):
        with pytest.raises(UsageError, match="--q1 takes factors of at least 0"):
            parse_factors("--q1", text)
    with pytest.raises(UsageError, match="a map of one size"):
        Quadrants.of_run(heads_run(tmp_path / "one", [[1.0], [1.0]]), "accuracy")
    with pytest.raises(UsageError, match="no head is in Q1 or Q3 by accuracy; try --by log_probability"):
        Quadrants.of_run(heads_run(tmp_path / "none", [[0.0], [1.0]], [[1.0], [-1.0]]), "accuracy")
    with pytest.raises(UsageError, match="unknown --by 'depth'"):
        Quadrants.of_run(heads_run(tmp_path / "two", [[1.0], [1.0]]), "depth")
    with pytest.raises(UsageError, match="no head 0 in layer 2"):
        Quadrants((Part(2, 0),), ()).fit(tiny.shared("llama"))
