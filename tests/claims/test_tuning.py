# SPDX-License-Identifier: Apache-2.0
"""Claims about tuning: it learns, resumes bit for bit, repeats byte for byte, and stops at a loss that is no number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tiny
from seal_attention import adapters
from seal_attention.adapters import WEIGHTS_FILE
from seal_attention.errors import UsageError
from seal_attention.models import LoadedModel
from seal_attention.runs import Run, Unwatched
from seal_attention.samples import Sample
from seal_attention.tuning.loop import STEPS, NotFinite, TuneSettings, tune


def contexts(count: int) -> list[Sample]:
    """Samples that differ in their text."""
    sample = tiny.sample()
    return [
        replace(sample, identifier=f"tiny/{i}", context=f"line {i}: {i * 7}. " + sample.context) for i in range(count)
    ]


def tuned(folder: Path, method: str = "seal-c", model: LoadedModel | None = None, **settings: Any) -> Path:
    """Tune a tiny model on six contexts in `folder`."""
    asked = TuneSettings(method, **{"lr": 1e-2, "average": True, **settings})
    run = Run.open(folder, "tune", {"method": method})
    return tune(run, model or tiny.load("llama"), contexts(6), asked, notes={"task": "lines"})


class StoppedAfter(Unwatched):
    """A person who presses Ctrl-C after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, cost: float, note: str = "") -> None:
        """Count down, then interrupt."""
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("method", adapters.METHODS)
def test_resumed_equals_uninterrupted_byte_for_byte(tmp_path: Path, method: str) -> None:
    whole = tuned(tmp_path / "whole", method)
    asked = TuneSettings(method, lr=1e-2, average=True)
    with pytest.raises(KeyboardInterrupt):
        run = Run.open(tmp_path / "cut", "tune", {"method": method})
        tune(run, tiny.load("llama"), contexts(6), asked, notes={"task": "lines"}, watcher=StoppedAfter(3))
    cut = tuned(tmp_path / "cut", method)
    for name in (WEIGHTS_FILE, adapters.CONFIG_FILE, adapters.SEAL_FILE):
        assert (whole / name).read_bytes() == (cut / name).read_bytes()
    records = Run.open(tmp_path / "cut", "tune", {"method": method}).records(STEPS)
    assert [record["step"] for record in records] == [1, 2, 3, 4, 5, 6]


def test_a_step_recorded_but_not_kept_is_taken_again(tmp_path: Path) -> None:
    whole = tuned(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run = Run.open(tmp_path / "cut", "tune", {"method": "seal-c"})
        tune(
            run,
            tiny.load("llama"),
            contexts(6),
            TuneSettings("seal-c", 1e-2, average=True),
            notes={"task": "lines"},
            watcher=StoppedAfter(2),
        )
    Run.open(tmp_path / "cut", "tune", {"method": "seal-c"}).append(STEPS, {"step": 3, "loss": 99.0})
    cut = tuned(tmp_path / "cut")
    assert (whole / WEIGHTS_FILE).read_bytes() == (cut / WEIGHTS_FILE).read_bytes()


def test_the_averaged_adapter_is_the_mean_of_the_last_half_of_the_steps(tmp_path: Path) -> None:
    values = []
    for steps in (4, 5, 6):
        run = Run.open(tmp_path / f"{steps}", "tune", {})
        folder = tune(run, tiny.load("llama"), contexts(steps), TuneSettings("seal-c", 1e-2), notes={})
        values.append(load_file(folder / WEIGHTS_FILE))
    averaged = load_file(tuned(tmp_path / "averaged") / WEIGHTS_FILE)
    for name, tensor in averaged.items():
        torch.testing.assert_close(tensor, sum(value[name] for value in values) / 3)
        assert not torch.equal(tensor, values[-1][name])


@pytest.mark.parametrize("readings", [1, 2, 3, 4])
def test_readings_deal_out_the_questions_of_each_context(tmp_path: Path, readings: int) -> None:
    samples = contexts(2)  # of three questions
    shares = {1: [(0, 1, 2)], 2: [(0, 2), (1,)], 3: [(0,), (1,), (2,)], 4: [(0,), (1,), (2,), (0,)]}[readings]
    apart = [replace(s, questions=tuple(s.questions[i] for i in share)) for share in shares for s in samples]
    dealt = tune(
        Run.open(tmp_path / "dealt", "tune", {}),
        tiny.load("llama"),
        samples,
        TuneSettings("seal-c", 1e-2, readings=readings),
        notes={},
    )
    once = tune(
        Run.open(tmp_path / "once", "tune", {}), tiny.load("llama"), apart, TuneSettings("seal-c", 1e-2), notes={}
    )
    assert (dealt / WEIGHTS_FILE).read_bytes() == (once / WEIGHTS_FILE).read_bytes()
    assert adapters.describe(dealt)["readings"] == readings


def test_no_reading_at_all_and_a_context_without_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--readings and --batch must be at least 1, not 0 and 8"):
        TuneSettings("seal-c", 1e-2, readings=0)
    empty = [replace(tiny.sample(), questions=())]
    with pytest.raises(UsageError, match="has no questions; give at least one"):
        tune(Run.open(tmp_path, "tune", {}), tiny.load("llama"), empty, TuneSettings("seal-c", 1e-2), notes={})


@pytest.mark.parametrize("method", ["seal-h", "seal-l"])
def test_the_same_seed_gives_the_same_adapter(tmp_path: Path, method: str) -> None:
    first, second = tuned(tmp_path / "first", method), tuned(tmp_path / "second", method)
    assert (first / WEIGHTS_FILE).read_bytes() == (second / WEIGHTS_FILE).read_bytes()


@pytest.mark.parametrize("method", adapters.METHODS)
def test_tuning_lowers_the_loss_and_leaves_the_weights_alone(tmp_path: Path, method: str) -> None:
    model = tiny.load("llama")
    before = {name: parameter.clone() for name, parameter in model.model.named_parameters()}
    run = Run.open(tmp_path / "run", "tune", {})
    tune(run, model, contexts(1) * 12, TuneSettings(method, lr=3e-2), notes={})
    records = run.records(STEPS)
    losses = [record["loss"] for record in records]
    assert run.results["tuning_seconds"] == pytest.approx(sum(record["seconds"] for record in records), abs=0.06)
    assert run.results["tuning_memory_gb"] > 0.05  # an interpreter with torch in it
    assert losses[-1] < losses[0] - 0.1
    after = {name.replace(".base_layer", ""): parameter for name, parameter in model.model.named_parameters()}
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_loss_that_is_no_number_stops_with_the_step_and_keeps_the_last_good_adapter(tmp_path: Path) -> None:
    good = tuned(tmp_path / "good", lr=1e-2)
    model = tiny.load("llama")
    hurt = contexts(6)

    class Poison(Unwatched):
        steps = 0

        def advance(self, cost: float, note: str = "") -> None:
            self.steps += 1
            if self.steps == 6:
                with torch.no_grad():
                    model.model.lm_head.weight[0, 0] = float("inf")

    run = Run.open(tmp_path / "bad", "tune", {"method": "seal-c"})
    with pytest.raises(NotFinite, match="step 7 of 7") as caught:
        tune(
            run,
            model,
            [*hurt, hurt[0]],
            TuneSettings("seal-c", 1e-2, average=True),
            notes={"task": "lines"},
            watcher=Poison(),
        )
    assert caught.value.exit_code == 1
    assert (tmp_path / "bad" / "adapter" / WEIGHTS_FILE).read_bytes() == (good / WEIGHTS_FILE).read_bytes()
    assert run.results is None


def test_no_samples_a_bad_rate_and_an_unknown_method_are_refused(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", "tune", {})
    with pytest.raises(UsageError, match="0 samples"):
        tune(run, tiny.load("llama"), [], TuneSettings("seal-h", 1e-2), notes={})
    with pytest.raises(UsageError, match="--lr"):
        TuneSettings("seal-h", float("nan"))
    with pytest.raises(UsageError, match="seal-h, seal-c, seal-l, seal-d"):
        TuneSettings("seal-x", 1e-2)


def test_a_gradient_of_another_name_or_with_nothing_to_recompute_is_refused() -> None:
    with pytest.raises(UsageError, match="exact or prefix-frozen"):
        TuneSettings("seal-c", 1e-2, gradient="approximate")
    with pytest.raises(UsageError, match="leave one of them out"):
        TuneSettings("seal-c", 1e-2, gradient="prefix-frozen", checkpoint=True)


def test_a_frozen_prefix_lowers_the_loss_as_well_and_is_noted(tmp_path: Path) -> None:
    folder = tuned(tmp_path / "run", gradient="prefix-frozen", readings=5)
    losses = [record["loss"] for record in Run.open(tmp_path / "run", "tune", {"method": "seal-c"}).records(STEPS)]
    assert sum(losses[-6:]) < 0.95 * sum(losses[:6])
    assert adapters.describe(folder)["gradient"] == "prefix-frozen"
