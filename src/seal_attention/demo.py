# SPDX-License-Identifier: Apache-2.0
"""Nothing but the embedded model -> a table, adapters, a merged model and a page: the whole method in one sitting.

Base evaluation, SEAL-H and SEAL-C tuning on generated line retrieval, evaluation at several sizes, merge, report. Every
stage is a run folder of its own, so that an interrupted demo goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import adapters, loading
from .embedded import DEFAULT_MODEL
from .evaluation.cells import Cell
from .evaluation.local import Job, evaluate_together
from .export.merge import merge
from .models import LoadedModel
from .report import build_report
from .runs import Run, Watcher, load_json, plain, save_json
from .tasks.lines import Lines
from .tasks.sizing import draw
from .tuning.loop import AVERAGED, DEFAULT_RATES, TuneSettings, tune

SUMMARY = "summary.json"
METHODS = ("seal-h", "seal-c")
# What part of the whole each stage takes, measured on two cores (docs/results.md): for the time left in all.
SHARES = {"base": 0.11, "base-prefixed": 0.06, "tune-seal-h": 0.43, "tune-seal-c": 0.23, "seal-h": 0.09, "seal-c": 0.08}


@dataclass(frozen=True)
class DemoSettings:
    """Sizes of the demo: lines of the test records, questions a cell, and what to tune on.

    SEAL-H needs the steps of two readings, at less than its usual rate; SEAL-C does with one. `spread` puts half of
    SEAL-C's tuning records at positions as far apart as the longest test records' (tuning/spreading.py); SEAL-H has too
    few numbers to serve all distances (docs/log.md).
    """

    sizes: tuple[int, ...] = (20, 40, 80, 160)
    cell_questions: int = 104
    context_questions: int = 13
    tuned_lines: int = 40
    tuned_questions: int = 12  # at each reading
    samples: int = 50
    readings: Mapping[str, int] = field(default_factory=lambda: {"seal-h": 2, "seal-c": 1})
    rates: Mapping[str, float] = field(default_factory=lambda: {"seal-h": 1e-1, "seal-c": DEFAULT_RATES["seal-c"]})
    spread: int | None = 4096
    model: str = DEFAULT_MODEL
    dtype: str = "auto"
    device: str = "auto"


QUICK = DemoSettings(
    sizes=(10, 20), cell_questions=24, context_questions=8, tuned_lines=20, tuned_questions=10, samples=16,
    readings={"seal-h": 1, "seal-c": 1}, rates=DEFAULT_RATES, spread=None,
)  # fmt: skip


@dataclass
class Demo:
    """One demo in a folder; `on_rows` gets the rows as each cell ends, `on_stage` a line as each stage does."""

    folder: Path
    settings: DemoSettings
    watcher: Watcher
    on_rows: Callable[[list[dict[str, Any]]], None]
    on_stage: Callable[[str], None]
    loaded: LoadedModel | None = None
    started: float = field(default_factory=time.perf_counter)
    worked: float = 0.0  # the share of the stages that this sitting has run

    def run(self) -> dict[str, Any]:
        """Run every stage that has not run yet; returns (and writes) the summary described in docs/formats.md."""
        rows = self.evaluated(("base", "base-prefixed"), None)
        tuned = {method: self.tuned(method) for method in METHODS}
        for method in METHODS:
            rows += self.evaluated((method,), tuned[method])
        merged = self.folder / "merged"
        if not merged.exists():
            merge(self.settings.model, tuned["seal-c"], merged)
        report = build_report([self.folder / stage for stage in SHARES], self.folder / "report.html")
        held = self.folder / SUMMARY
        before = load_json(held)["seconds"] if held.exists() else 0.0
        summary = {
            "rows": rows,
            "adapters": {method: str(path) for method, path in tuned.items()},
            "merged": str(merged),
            "report": str(report),
            "seconds": max(before, round(time.perf_counter() - self.started, 1)),
        }
        save_json(held, summary)
        return summary

    def model(self) -> LoadedModel:
        """The model, loaded when the first stage needs it."""
        if self.loaded is None:
            self.on_stage(f"loading {self.settings.model} (the first time it is converted too, about 20 seconds)")
            self.loaded = loading.load(self.settings.model, dtype=self.settings.dtype, device=self.settings.device)
        return self.loaded

    def evaluated(self, methods: Sequence[str], adapter_folder: Path | None) -> list[dict[str, Any]]:
        """The rows of each method at every size; those asked together read their records once."""
        settings, jobs = self.settings, []
        for method in methods:
            asked = {"method": method, "task": "lines", "seed": 0, **plain(settings)}
            tasks = [Lines(size, settings.context_questions, method == "base-prefixed") for size in settings.sizes]
            cells = [Cell(draw(task, "test", 0, settings.cell_questions), task.scores) for task in tasks]
            jobs.append(Job(Run.open(self.folder / method, "eval", asked), cells, method))
        waiting = [job for job in jobs if job.run.results is None]
        if waiting:
            adapter = adapters.load(adapter_folder, self.model()) if adapter_folder else None
            evaluate_together(self.model(), waiting, adapter=adapter, watcher=self.watcher, on_rows=self.on_rows)
            self.finished(*(job.method for job in waiting))
        return [row for job in jobs for row in load_json(job.run.folder / "results.json")["rows"]]

    def tuned(self, method: str) -> Path:
        """The folder of one method's adapter."""
        settings = self.settings
        spread = settings.spread if method == "seal-c" else None
        how = TuneSettings(
            method,
            settings.rates[method],
            average=method in AVERAGED,
            readings=settings.readings[method],
            batch=settings.tuned_questions,  # all at once: a twelfth faster than eight and four
            spread=spread,
        )
        asked = {**plain(settings), **plain(how), "task": "lines"}
        run = Run.open(self.folder / f"tune-{method}", "tune", asked)
        if run.results is None:
            size = Lines(settings.tuned_lines, settings.tuned_questions * how.readings)
            samples = draw(size, "train", 0, settings.samples * size.questions)
            notes = {"task": "lines", **size.cell, "questions": size.questions, "samples": settings.samples}
            tune(run, self.model(), samples, how, notes=notes, watcher=self.watcher)
            self.finished(f"tune-{method}")
        return run.folder / "adapter"

    def finished(self, *stages: str) -> None:
        """Say what is done and, from the pace so far, how long the rest will take."""
        self.worked += sum(SHARES[stage] for stage in stages)
        done = sum(SHARES[name] for name in SHARES if (self.folder / name / "results.json").exists())
        elapsed = time.perf_counter() - self.started
        left = elapsed / self.worked * max(0.0, 1 - done)
        self.on_stage(
            f"{', '.join(stages)} done, {elapsed / 60:.1f} minutes so far; about {left / 60:.1f} minutes left in all"
        )


def run_demo(
    folder: Path,
    settings: DemoSettings,
    watcher: Watcher,
    on_rows: Callable[[list[dict[str, Any]]], None],
    on_stage: Callable[[str], None],
) -> dict[str, Any]:
    """Run the demo; folder/summary.json is that of the last one run, quick or full, whose stages are kept apart."""
    stages = folder / "quick" if settings.sizes == QUICK.sizes else folder
    summary = Demo(stages, settings, watcher, on_rows, on_stage).run()
    save_json(folder / SUMMARY, summary)
    return summary
