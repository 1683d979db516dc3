# SPDX-License-Identifier: Apache-2.0
"""A full grid of learning rates, and `--lr auto`: how far the rate it chooses is from the best of the grid.

Two tasks, SEAL-H and SEAL-C, on the embedded model; every rate is tuned with in full and asked the same test questions
at the tuned size. Prints a JSON line a tuning and a line a choice, and writes OUT/full/choices.json. Everything is
kept in run folders: stop at any time, the same command goes on. About three quarters of an hour on two idle cores;
`--quick` proves in a minute or two that everything works, and its figures mean nothing.

    python benchmarks/rate_search.py [--quick] [--out runs/rate_search]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seal_attention import adapters, console, loading
from seal_attention.errors import SealError
from seal_attention.evaluation.cells import Cell
from seal_attention.evaluation.local import evaluate
from seal_attention.models import LoadedModel
from seal_attention.prompts import Encoder
from seal_attention.runs import Run, plain, save_json
from seal_attention.samples import Sample
from seal_attention.tasks.mixture import mixed
from seal_attention.tasks.selection import Selection
from seal_attention.tasks.sizing import draw
from seal_attention.tasks.task import Task
from seal_attention.tuning.loop import AVERAGED, DEFAULT_RATES, STEPS, TuneSettings, tune
from seal_attention.tuning.rate_search import HELD_OUT, RATES, RateSearch, best, try_rates

METHODS = ("seal-h", "seal-c")


@dataclass(frozen=True)
class Grid:
    """`samples` contexts of each task at its size (lines, or tokens) with so many `questions`; `times` the method's
    usual rate are the grid's; `asked` test questions, `together` a context."""

    sizes: Mapping[str, tuple[str | None, str | None]] = field(
        default_factory=lambda: {"lines": ("20", None), "niah_multikey_2": (None, "768")}
    )
    samples: int = 50
    questions: int = 8
    times: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    asked: int = 208
    together: int = 13


QUICK = Grid({"lines": ("2", None), "niah_multikey_2": (None, "384")}, 1, 1, (0.5, 1.0), 1, 1)


@dataclass(frozen=True)
class Bench:
    """One grid in a folder."""

    grid: Grid
    folder: Path
    model: LoadedModel
    encoder: Encoder
    watcher: console.Bars

    def task(self, name: str, tuning: bool) -> Task:
        """The task at its size, to tune on or to test with."""
        questions = self.grid.questions if tuning else self.grid.together
        selection = Selection(name, *self.grid.sizes[name], questions=questions, tuning=tuning)
        (task,) = selection.cells(self.encoder.budget)
        return task

    def run(self, command: str, *names: str) -> Run:
        """The folder of one piece of the work."""
        return Run.open(self.folder / "-".join(names), command, {"names": names, **plain(self.grid)})

    def compared(self, name: str, method: str) -> dict[str, Any]:
        """The accuracy of every rate, and what the search made of it."""
        count = self.grid.samples
        drawn = mixed([self.task(name, True)], [1.0], count + HELD_OUT, 0, self.encoder.budget)
        settings = TuneSettings(method, DEFAULT_RATES[method], method in AVERAGED)
        search = RateSearch(drawn[:count], drawn[count:], settings)
        searched = self.run("tune", name, method, "auto")
        chosen = best(try_rates(searched, self.model, search, watcher=self.watcher, tell=console.say))
        rates = sorted({chosen, *(settings.lr * factor for factor in self.grid.times)})
        tuned = {rate: self.tuned(name, method, rate, drawn[:count]) for rate in rates}
        accuracies = {rate: figures["accuracy"] for rate, figures in tuned.items()}
        searching = sum(record["seconds"] for record in searched.records(RATES))
        return {
            "task": name,
            "method": method,
            "accuracies": {f"{rate:g}": accuracy for rate, accuracy in accuracies.items()},
            "chosen": chosen,
            "behind_the_best": round(max(accuracies.values()) - accuracies[chosen], 4),
            "tried": searched.records(RATES),
            "search_seconds": round(searching, 1),
            "search_share": round(searching / tuned[chosen]["tuning_seconds"], 3),
        }

    def tuned(self, name: str, method: str, rate: float, samples: list[Sample]) -> dict[str, float]:
        """One rate in full: test accuracy, and the seconds of its steps."""
        run = self.run("tune", name, method, f"{rate:g}")
        settings = TuneSettings(method, rate, method in AVERAGED)
        if run.results is None:
            tune(run, self.model, samples, settings, notes={"task": name}, watcher=self.watcher)
        tested = self.run("eval", name, method, f"{rate:g}", "tested")
        if tested.results is None:
            task = self.task(name, False)
            cell = Cell(draw(task, "test", 0, self.grid.asked, self.encoder.budget), task.scores)
            adapter = adapters.load(run.folder / "adapter", self.model)
            evaluate(tested, self.model, [cell], method=method, adapter=adapter, watcher=self.watcher)
        (row,) = (tested.results or {})["rows"]
        figures = {
            "accuracy": row["accuracy"],
            "n": row["n"],
            "tuning_seconds": round(sum(record["seconds"] for record in run.records(STEPS)), 1),
        }
        print(json.dumps({"task": name, "method": method, "lr": rate, **figures}), flush=True)
        return figures


def main() -> None:
    """Every task with every method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the tiniest sizes, to see that everything works")
    parser.add_argument("--out", type=Path, default=Path("runs/rate_search"), help="folder of the runs")
    options = parser.parse_args()
    grid = QUICK if options.quick else Grid()
    tunings = len(grid.sizes) * len(METHODS) * len(grid.times)
    console.say(
        f"{tunings} tunings of {grid.samples} steps with {grid.asked} test questions each, and "
        f"{len(grid.sizes) * len(METHODS)} searches"
    )
    model = loading.load(device="cpu")
    encoder = Encoder(model.tokenizer, model.window)
    bench = Bench(grid, options.out / ("quick" if options.quick else "full"), model, encoder, console.Bars())
    choices = []
    for name in grid.sizes:
        for method in METHODS:
            choices.append(bench.compared(name, method))
            save_json(bench.folder / "choices.json", choices)
    for choice in choices:
        print(
            f"{choice['task']}, {choice['method']}: chose {choice['chosen']:g}, {choice['behind_the_best']:.3f} behind "
            f"the best of {choice['accuracies']}; the search took {choice['search_share']:.0%} of the tuning"
        )


if __name__ == "__main__":
    try:
        main()
    except SealError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
