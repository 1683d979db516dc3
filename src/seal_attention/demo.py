# SPDX-License-Identifier: Apache-2.0
"""Nothing but the embedded model -> a table, adapters, a merged model and a page: the whole method in one sitting.

Base evaluation, SEAL-H and SEAL-C tuning on generated line retrieval, evaluation at several sizes, merge, report. Every
stage is a run folder of its own, so that an interrupted demo goes on where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import adapters, models
from .evaluation import Cell, evaluate
from .export.merge import merge
from .models import DEFAULT_MODEL, LoadedModel
from .report import build_report
from .runs import Run, Watcher, load_json, plain, save_json
from .tasks import draw
from .tasks.lines import Lines
from .tuning.loop import TuneSettings, tune

SUMMARY = "summary.json"
METHODS = ("seal-h", "seal-c")


@dataclass(frozen=True)
class DemoSettings:
    """Sizes of the demo: lines of the test records, questions a cell, and what to tune on."""

    sizes: tuple[int, ...] = (20, 40, 80, 160)
    cell_questions: int = 104
    tuned_lines: int = 40
    questions: int = 8
    samples: int = 50
    model: str = DEFAULT_MODEL
    dtype: str = "auto"
    device: str = "auto"


QUICK = DemoSettings(sizes=(10, 20), cell_questions=24, tuned_lines=20, samples=16)
RATES = {"seal-h": 1e-1, "seal-c": 2e-2}


def run_demo(
    folder: Path, settings: DemoSettings, watcher: Watcher, on_rows: Callable[[list[dict[str, Any]]], None]
) -> dict[str, Any]:
    """Run every stage that has not run yet; returns (and writes to folder/summary.json) the summary (docs/formats.md).

    Quick and full demos keep their stages apart; the summary is that of the last one run.
    """
    started = time.perf_counter()
    stages = folder / "quick" if settings == QUICK else folder
    loaded: list[LoadedModel] = []

    def model() -> LoadedModel:
        if not loaded:
            loaded.append(models.load(settings.model, dtype=settings.dtype, device=settings.device))
        return loaded[0]

    rows = []
    for method in ("base", "base-prefixed"):
        rows += _evaluated(stages, method, None, settings, model, watcher, on_rows)
    tuned = {method: _tuned(stages, method, settings, model, watcher) for method in METHODS}
    for method in METHODS:
        rows += _evaluated(stages, method, tuned[method], settings, model, watcher, on_rows)
    merged = stages / "merged"
    if not merged.exists():
        merge(settings.model, tuned["seal-c"], merged)
    runs = [stages / name for name in ("base", "base-prefixed", *METHODS, *(f"tune-{method}" for method in METHODS))]
    report = build_report(runs, stages / "report.html")
    previous = load_json(stages / SUMMARY)["seconds"] if (stages / SUMMARY).exists() else 0.0
    summary = {
        "rows": rows,
        "adapters": {method: str(path) for method, path in tuned.items()},
        "merged": str(merged),
        "report": str(report),
        "seconds": max(previous, round(time.perf_counter() - started, 1)),
    }
    for place in {stages, folder}:
        save_json(place / SUMMARY, summary)
    return summary


def _evaluated(
    stages: Path,
    method: str,
    adapter_folder: Path | None,
    settings: DemoSettings,
    model: Callable[[], LoadedModel],
    watcher: Watcher,
    on_rows: Callable[[list[dict[str, Any]]], None],
) -> list[dict[str, Any]]:
    run = Run.open(stages / method, "eval", {"method": method, "task": "lines", "seed": 0, **plain(settings)})
    if run.results:
        on_rows(run.results["rows"])
        return run.results["rows"]
    tasks = [Lines(size, settings.questions, prefixed=method == "base-prefixed") for size in settings.sizes]
    cells = [Cell(draw(task, "test", 0, settings.cell_questions), task.score) for task in tasks]
    adapter = adapters.load(adapter_folder, model()) if adapter_folder else None
    return evaluate(run, model(), cells, method=method, adapter=adapter, watcher=watcher, on_rows=on_rows)


def _tuned(
    stages: Path, method: str, settings: DemoSettings, model: Callable[[], LoadedModel], watcher: Watcher
) -> Path:
    run = Run.open(
        stages / f"tune-{method}", "tune", {"method": method, "task": "lines", "lr": RATES[method], **plain(settings)}
    )
    if run.results:
        return Path(run.results["adapter"])
    task = Lines(settings.tuned_lines, settings.questions)
    samples = draw(task, "train", 0, settings.samples * settings.questions)
    notes = {
        "task": "lines",
        "lines": settings.tuned_lines,
        "questions": settings.questions,
        "samples": settings.samples,
    }
    return tune(run, model(), samples, TuneSettings(method, RATES[method]), notes=notes, watcher=watcher)
