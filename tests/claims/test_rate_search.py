# SPDX-License-Identifier: Apache-2.0
"""Claims about --lr auto: it finds a good rate, goes on after an interruption, and leaves the tuning as `--lr RATE`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tiny
from seal_attention import adapters
from seal_attention.__main__ import main
from seal_attention.adapters import CONFIG_FILE, WEIGHTS_FILE
from seal_attention.errors import UsageError
from seal_attention.prompts import Encoder
from seal_attention.runs import Run, Unwatched
from seal_attention.samples import Sample
from seal_attention.tuning import rate_search
from seal_attention.tuning.loop import STEPS, NotFinite, TuneSettings
from seal_attention.tuning.rate_search import RATES, RateSearch, best, to_try, try_rates


def contexts(count: int, start: int = 0) -> list[Sample]:
    """Samples that differ in their text."""
    sample = tiny.sample()
    numbers = range(start, start + count)
    return [replace(sample, identifier=f"tiny/{i}", context=f"line {i}: {i * 7}. " + sample.context) for i in numbers]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models need few."""
    monkeypatch.setattr(rate_search, "STEPS", 3)
    monkeypatch.setattr(rate_search, "MOST", 4)


def search(lr: float = 3e-2, method: str = "seal-c", **settings: Any) -> RateSearch:
    """Eight contexts to tune on and two kept apart."""
    return RateSearch(contexts(8), contexts(2, start=8), TuneSettings(method, lr, average=True, **settings))


def tried(losses: dict[float, float | None]) -> dict[float, dict[str, float | None]]:
    """Records with these losses."""
    return {rate: {"loss": loss} for rate, loss in losses.items()}


def test_the_next_rate_lies_beyond_the_best_until_that_stands_between_two_others() -> None:
    assert to_try(4.0, {}) == [2.0, 4.0, 8.0]
    assert to_try(4.0, tried({2.0: 0.1})) == [4.0, 8.0]
    assert to_try(4.0, tried({2.0: 0.2, 4.0: 0.1, 8.0: 0.2})) == []
    assert to_try(4.0, tried({2.0: 0.1, 4.0: 0.2, 8.0: 0.3})) == [1.0]
    assert to_try(4.0, tried({2.0: 0.3, 4.0: 0.2, 8.0: 0.1})) == [16.0]
    assert to_try(4.0, tried({2.0: None, 4.0: None, 8.0: None})) == [1.0]
    assert to_try(4.0, tried({2.0**power: 1 / power for power in range(1, 5)})) == []  # enough were tried
    assert best(tried({2.0: None, 4.0: 0.2, 8.0: 0.2})) == 4.0


def test_of_an_absurd_grid_the_rate_that_learns_is_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_search, "FACTOR", 1e5)
    records = try_rates(Run.open(tmp_path, "tune", {}), tiny.load("llama"), search())
    assert list(records) == [3e-7, 3e-2, 3e3]
    assert best(records) == 3e-2
    assert records[3e-2]["loss"] < records[3e-7]["loss"] - 0.1


def test_a_rate_far_too_high_is_left_step_by_step(tmp_path: Path) -> None:
    records = try_rates(Run.open(tmp_path, "tune", {}), tiny.load("llama"), search(lr=8.0))
    assert list(records) == [4.0, 8.0, 16.0, 2.0]
    assert best(records) < 8.0


class StoppedAfter(Unwatched):
    """A person who presses Ctrl-C after some pieces of work."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces

    def advance(self, cost: float, note: str = "") -> None:
        """Count down, then interrupt."""
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def test_an_interrupted_search_loses_one_rate_at_most_and_ends_the_same(tmp_path: Path) -> None:
    whole, cut = (Run.open(tmp_path / name, "tune", {}) for name in ("whole", "cut"))
    model, asked = tiny.load("llama"), search(method="seal-h")
    try_rates(whole, model, asked)
    with pytest.raises(KeyboardInterrupt):
        try_rates(cut, model, asked, watcher=StoppedAfter(7))  # in the second rate
    assert len(cut.records(RATES)) == 1
    again = try_rates(cut, model, asked)

    def told(run: Run) -> list[dict[str, Any]]:
        return [{**record, "seconds": None} for record in run.records(RATES)]

    assert told(cut) == told(whole)
    assert list(again) == [record["lr"] for record in told(whole)]


def test_trying_a_rate_leaves_the_model_as_it_was() -> None:
    model, asked = tiny.load("llama"), search(method="seal-d")
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    record = rate_search.attempt(model, asked, 1e-2, [Encoder(tiny.tokenizer()).encode(tiny.sample())], Unwatched())
    assert record["loss"] > 0
    after = model.model.state_dict()
    assert list(after) == list(before)
    assert all(value.equal(after[name]) for name, value in before.items())


def test_a_search_takes_few_questions_of_the_first_contexts_and_counts_its_cost() -> None:
    many = replace(tiny.sample(), questions=tiny.sample().questions * 4)
    samples = [replace(many, context=f"{place} {many.context}") for place in range(6)]
    asked = RateSearch(samples, contexts(2), TuneSettings("seal-c", 1e-2, readings=2))
    assert [sample.context for sample in asked.short_samples] == [sample.context for sample in samples[:3]]
    assert {len(sample.questions) for sample in asked.short_samples} == {8}
    encoder = Encoder(tiny.tokenizer())
    short, reading = (encoder.encode(s).tokens for s in (asked.short_samples[0], samples[0].share(0, 2)))
    held_out = encoder.encode(asked.held_out[0]).tokens
    # Three rates of three steps, and reading two contexts; twelve steps of six questions each.
    assert asked.share(encoder) == pytest.approx(3 * (2 * 3 * short + 2 * held_out) / (2 * 12 * reading))


def test_contexts_of_both_sides_none_and_rates_that_give_no_number_are_refused(tmp_path: Path) -> None:
    settings = TuneSettings("seal-c", 1e-2)
    with pytest.raises(UsageError, match="tiny/7 is the same as one that is"):
        RateSearch(contexts(8), contexts(2, start=7), settings)
    with pytest.raises(UsageError, match="not 8 and 0; give --lr a number"):
        RateSearch(contexts(8), [], settings)
    model = tiny.load("llama")
    model.model.lm_head.weight.data[0, 0] = float("nan")
    with pytest.raises(NotFinite, match=r"none of the rates .* gave a loss that is a number"):
        try_rates(Run.open(tmp_path, "tune", {}), model, search())


@pytest.mark.parametrize("method", ["seal-c", "seal-l"])
def test_the_adapter_is_that_of_the_chosen_rate_given_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    tiny.save("llama", tmp_path / "model", max_position_embeddings=2048)
    monkeypatch.chdir(tmp_path)

    def seal(*arguments: Any) -> str:
        asked = ("--method", method, "--lines", 2, "--questions", 2, "--samples", 3, *arguments)
        monkeypatch.setattr(sys, "argv", ["seal", "tune", "model", *map(str, asked)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code
        return capsys.readouterr().err

    said = seal("--lr", "auto", "--out", "auto")
    results = json.loads(Path("auto/results.json").read_text())
    assert f"--lr auto chose {results['lr']:g}" in said
    assert "of the tuning's own time" in said
    assert json.loads(Path("auto/manifest.json").read_text())["settings"]["lr"] == "auto"
    records = [json.loads(line) for line in Path("auto", RATES).read_text().splitlines()]
    seal_file = adapters.describe(Path("auto/adapter"))
    assert (seal_file["lr"], seal_file["lr_chosen_from"]) == (results["lr"], sorted(r["lr"] for r in records))

    tuned = {json.loads(line)["sample"] for line in Path("auto", STEPS).read_text().splitlines()}
    assert tuned == {f"lines-lines=2-train-0-{index}" for index in range(3)}
    assert {tuple(r["held_out"]) for r in records} == {tuple(f"lines-lines=2-train-0-{i}" for i in range(3, 7))}

    seal("--lr", results["lr"], "--out", "by-hand")
    for name in (WEIGHTS_FILE, CONFIG_FILE):
        assert Path("auto/adapter", name).read_bytes() == Path("by-hand/adapter", name).read_bytes()
    assert "lr_chosen_from" not in adapters.describe(Path("by-hand/adapter"))
