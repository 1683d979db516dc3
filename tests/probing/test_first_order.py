# SPDX-License-Identifier: Apache-2.0
"""First-order effects equal finite differences of the answers' log-probability, and are resumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from adapting import randomised
from seal_attention.adapters import Adapter, LowRank, Scales
from seal_attention.models import LoadedModel
from seal_attention.probing import first_order
from seal_attention.probing.ablation import Part, ablate
from seal_attention.probing.first_order import RECORDS, estimate, findings, read_effects, strongest
from seal_attention.prompts import Example
from seal_attention.runs import Run

STEP = 1e-4


@pytest.fixture(autouse=True)
def _no_rounding() -> Iterator[None]:
    with tiny.Float64():
        yield


def run_in(folder: Path) -> Run:
    """A probe's run without settings."""
    return Run.open(folder, "probe", {"probe": "fast"})


def log_probability(model: LoadedModel, example: Example, part: Part, scale: float, adapter: Adapter | None) -> float:
    """The mean log-probability of the answers with one head's scale elsewhere than at 1."""
    scales = Scales("seal-h", model.projections)
    name = next(projection.name for projection in model.projections if projection.layer == part.layer)
    scales.values[name] = torch.nn.Parameter(scales.values[name].double())
    scales.values[name].data[part.head] = scale
    with scales.attached(model):
        (base,) = ablate(model, example, [], adapter=adapter)
    return sum(base.log_probabilities) / len(base.log_probabilities)


@pytest.mark.parametrize(
    ("name", "method"),
    [("llama", None), ("mistral", None), ("qwen3_moe", None), ("gpt2", None), ("llama", "seal-c"), ("llama", "seal-l")],
)
def test_effects_equal_finite_differences(name: str, method: str | None, example: Example, tmp_path: Path) -> None:
    model = tiny.load(name, torch.float64)
    adapter: Adapter | None = None
    if method is not None:
        adapter = LowRank(method, model) if method == "seal-l" else randomised(method, model)
        with torch.no_grad():
            for parameter in adapter.parameters().values():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    run = run_in(tmp_path)
    estimate(run, model, [example], adapter=adapter, batch=2, checkpoint=method is None)
    ((_, effects),) = read_effects(run.records(RECORDS)).items()
    assert len(effects) == 8
    for part in (Part(0, 1), Part(1, 3)):
        up, down = (log_probability(model, example, part, 1 + step, adapter) for step in (STEP, -STEP))
        assert effects[part] == pytest.approx(-(up - down) / (2 * STEP), rel=1e-5, abs=1e-7)
        assert abs(effects[part]) > 1e-3


def test_contexts_count_by_their_questions_and_are_read_once(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.shared("llama")
    other = replace(example, sample=replace(example.sample, identifier="tiny/1"), questions=example.questions[:1])
    run = run_in(tmp_path)
    estimate(run, model, [example, other])
    together = read_effects(run.records(RECORDS))
    first, second = (read_effects([record]) for record in run.records(RECORDS))
    for cell, effects in together.items():
        for part, value in effects.items():
            assert value == pytest.approx((3 * first[cell][part] + second[cell][part]) / 4, rel=1e-12)
    run.keep(RECORDS, 1)
    read: list[str] = []
    accumulate = first_order.accumulate_gradients

    def watched(model: LoadedModel, example: Example, **how: Any) -> float:
        read.append(example.sample.identifier)
        return accumulate(model, example, **how)

    monkeypatch.setattr(first_order, "accumulate_gradients", watched)
    estimate(run, model, [example, other])
    assert read == ["tiny/1"]
    assert read_effects(run.records(RECORDS)) == together


def test_the_findings_compare_the_strongest_heads_with_their_exact_effect() -> None:
    cell = ("lines", (("lines", 4),))
    effects = {Part(0, 0): 0.5, Part(0, 1): -3.0, Part(1, 0): 1.0, Part(1, 1): 0.1}
    exact = {Part(0, 1): -2.0, Part(1, 0): 4.0, Part(0, 0): 5.0}
    assert strongest(effects, 2) == [Part(0, 1), Part(1, 0)]
    found = findings({cell: effects}, {cell: exact}, 2)
    assert found["maps"][0]["values"] == [[0.5, -3.0], [1.0, 0.1]]
    assert [(each["layer"], each["head"], each["exact"]) for each in found["exact"]] == [(0, 1, -2.0), (1, 0, 4.0)]
    (correlation,) = found["rank_correlation"]
    assert (correlation["n"], correlation["over"], correlation["spearman"]) == (3, "the 3 strongest heads", 0.5)
