# SPDX-License-Identifier: Apache-2.0
"""What silencing changed is recorded once, survives an interruption, and is read back question by question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from seal_attention.models import LoadedModel
from seal_attention.probing.ablation import Part, ablate, all_heads
from seal_attention.probing.channels import findings as channel_findings
from seal_attention.probing.heads import findings, quadrant
from seal_attention.probing.silencing import RECORDS, cost, read_cells, silence
from seal_attention.prompts import Example
from seal_attention.runs import Run


@pytest.fixture
def examples(example: Example) -> list[Example]:
    """Two contexts of one cell and a longer one of another; what is asked of them differs."""
    sample = example.sample
    longer = replace(example, prefix_ids=(*example.prefix_ids, *example.prefix_ids))
    return [
        replace(longer, sample=replace(sample, identifier="long/0", cell={"lines": 6})),
        replace(example, sample=replace(sample, identifier="short/0", cell={"lines": 3})),
        replace(
            example,
            sample=replace(sample, identifier="short/1", cell={"lines": 3}, questions=sample.questions[1:]),
            questions=example.questions[1:],
        ),
    ]


def run_in(folder: Path) -> Run:
    """A probe's run without settings."""
    return Run.open(folder, "probe", {"probe": "heads"})


def numbers(found: Any) -> list[float]:
    """Every number among the results, in order."""
    if isinstance(found, Mapping):
        return [number for value in found.values() for number in numbers(value)]
    if isinstance(found, list | tuple):
        return [number for value in found for number in numbers(value)]
    return [float(found)] if isinstance(found, int | float) else []


def test_the_findings_are_the_mean_changes_of_each_cells_questions(examples: list[Example], tmp_path: Path) -> None:
    model, run = tiny.shared("llama"), run_in(tmp_path)
    silence(run, model, [(each, all_heads(model)) for each in examples])
    short, long = read_cells(run.records(RECORDS))
    assert (short.cell, long.cell) == ({"lines": 3}, {"lines": 6})  # by the length of their prompts
    assert short.changes["accuracy"].shape == (5, 8)
    base, *found = ablate(model, examples[0], all_heads(model))
    for place, one in enumerate(found):
        expected = [a - b for a, b in zip(one.log_probabilities, base.log_probabilities, strict=True)]
        assert long.changes["log_probability"][:, place].tolist() == pytest.approx(expected, rel=0, abs=1e-9)
    results = findings([short, long])
    assert [(each["name"], each["cell"]["lines"]) for each in results["maps"]] == [
        (f"ablation_{measure}", lines) for lines in (3, 6) for measure in ("accuracy", "log_probability")
    ]
    drawn = results["maps"][3]
    mean = long.mean("log_probability").reshape(2, 4)
    assert torch.tensor(drawn["values"], dtype=torch.float64).allclose(mean, atol=1e-6)
    assert (torch.tensor(drawn["low"]) <= mean).all()
    assert (torch.tensor(drawn["high"]) >= mean).all()
    scatter = results["scatter"][1]
    assert (scatter["measure"], len(scatter["points"])) == ("log_probability", 8)
    for point in scatter["points"]:
        assert point["y"] == drawn["values"][point["layer"]][point["head"]]
        assert point["quadrant"] == quadrant(point["x"], point["y"])
    assert {each["measure"] for each in results["stability"]["between"]} == {"accuracy", "log_probability"}


def test_an_interrupted_run_asks_only_what_is_missing_and_ends_the_same(
    examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.shared("llama")
    jobs = [(each, all_heads(model)) for each in examples]
    whole, cut = run_in(tmp_path / "whole"), run_in(tmp_path / "cut")
    silence(whole, model, jobs)
    append, left = Run.append, 13  # of 27: in the middle of the second context

    def failing(run: Run, name: str, *records: Mapping[str, Any]) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        append(run, name, *records)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "append", failing)
        with pytest.raises(KeyboardInterrupt):
            silence(cut, model, jobs)
    with (cut.folder / RECORDS).open("a") as file:
        file.write('{"sample": "short/0", "lay')  # what a crash leaves of a line
    silence(cut, model, jobs)
    assert len(cut.records(RECORDS)) == len(whole.records(RECORDS)) == 27
    resumed, uninterrupted = (findings(read_cells(run.records(RECORDS))) for run in (cut, whole))
    assert numbers(resumed) == pytest.approx(numbers(uninterrupted), rel=0, abs=2e-6)
    silence(cut, model, jobs)
    assert len(cut.records(RECORDS)) == 27


def test_the_cost_counts_a_part_from_its_own_layer_on(example: Example) -> None:
    model: LoadedModel = tiny.shared("llama")
    assert cost(model, [(example, [])]) == example.tokens
    assert cost(model, [(example, [Part(0, 0), Part(1, 0), Part(1, 1)])]) == 3 * example.tokens


def test_channels_become_a_strip_a_head(examples: list[Example], tmp_path: Path) -> None:
    model, run = tiny.shared("llama"), run_in(tmp_path)
    parts = [Part(layer, head, channel) for layer, head in ((1, 2), (0, 1)) for channel in (0, 1, 2)]
    silence(run, model, [(each, parts) for each in examples[1:]])
    (cell,) = read_cells(run.records(RECORDS))
    strips = channel_findings([cell])["strips"]
    assert [(each["layer"], each["head"], each["measure"]) for each in strips] == [
        (layer, head, measure) for layer, head in ((0, 1), (1, 2)) for measure in ("accuracy", "log_probability")
    ]
    assert strips[3]["values"] == pytest.approx(cell.mean("log_probability")[3:].tolist(), abs=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "number"), [(1.0, 2.0, 1), (-1.0, 2.0, 2), (-1.0, -2.0, 3), (1.0, -2.0, 4), (0.0, 1.0, 0), (1.0, 0.0, 0)]
)
def test_quadrants_are_numbered_as_in_a_school_book(x: float, y: float, number: int) -> None:
    assert quadrant(x, y) == number
