# SPDX-License-Identifier: Apache-2.0
"""`seal probe quadrants`: a map of heads and factors -> new questions answered with each, the best as an adapter."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import console
from ..errors import UsageError
from ..evaluation.cells import Cell
from ..runs import Run, plain
from ..tasks.selection import Selection
from ..tasks.sizing import draw
from .options import (
    Attention,
    Device,
    Dtype,
    Extend,
    Json,
    Lengths,
    Out,
    Questions,
    Sizes,
    Trust,
    Window,
    window_settings,
)
from .probe_facts import of_quadrants
from .probing import BY, Asked, By, Subject, chosen, open_probe, print_findings, probe, say

if TYPE_CHECKING:
    from ..adapters import Adapter


@probe.command()
def quadrants(
    heads_run: Annotated[Path, typer.Option("--heads", help="Run folder of a `seal probe heads` at two sizes.")],
    model: Annotated[str | None, typer.Argument(help="The model of that run. [default: as named there]")] = None,
    q1: Annotated[str, typer.Option(help="Factors of the heads whose silencing helps at both sizes.")] = "1,0.9,0.8",
    q3: Annotated[str, typer.Option(help="Factors of the heads whose silencing hurts at both.")] = "1,1.1,1.2",
    by: By = BY,
    lines: Sizes = None,
    length: Lengths = None,
    n: Asked = 50,
    questions: Questions = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the text to answer, not the map's. [default: the map's + 1]")
    ] = None,
    out: Out = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    attention: Attention = "auto",
    trust: Trust = False,
    extend: Extend = None,
    window: Window = None,
    as_json: Json = False,
) -> None:
    """Scale the heads of two quadrants by swept factors, answer new questions, keep the best as a SEAL-H adapter."""
    from ..probing import quadrants as scaling
    from ..probing.heads import HeadsRun

    given = HeadsRun.read(heads_run)
    there = given.settings
    if there["adapter"]:
        raise UsageError(f"{heads_run} mapped the heads with an adapter at work; quadrants need a map of the base")
    settings = scaling.grid_of(scaling.parse_factors("--q1", q1), scaling.parse_factors("--q3", q3))
    found = scaling.Quadrants.of_run(given, by)
    in_lines, in_tokens = (lines, length) if lines or length else (there["lines"], there["lengths"])
    asked_of_each = there["questions"] if questions is None else questions
    selection = Selection(
        there["tasks"],
        in_lines,
        in_tokens,
        there["depths"],
        asked_of_each,
        there["prefixed"],
        there["haystack"],
        there["data"],
    )
    seed = there["seed"] + 1 if seed is None else seed
    subject = Subject(
        model or there["model"],
        None,
        1.0,
        dtype,
        device,
        attention,
        None if model else there["revision"],
        trust,
        window_settings(extend, window),
    )
    stated = {"heads": str(heads_run), "q1": q1, "q3": q3, "by": by, **chosen(selection, seed, n)}
    run = open_probe("quadrants", subject, stated, out)
    if run.results is None:
        from ..evaluation.local import evaluate as answer
        from ..prompts import Encoder

        loaded, _ = subject.load()
        found.fit(loaded)
        budget = Encoder(loaded.tokenizer).budget
        drawn = [(task, draw(task, "test", seed, n, budget)) for task in selection.cells(budget)]
        scaling.require_held_out(given, [sample for _, samples in drawn for sample in samples], seed)
        cells = [Cell(samples, task.scores) for task, samples in drawn]
        total = sum(len(sample.questions) for _, samples in drawn for sample in samples)
        say(
            f"{len(found.first)} heads in Q1, {len(found.third)} in Q3; {len(settings)} settings, the base among them, "
            f"each answers {total:,} questions; stop at any time, the same command goes on",
            as_json,
        )
        seconds: list[float] = []  # that each setting took which this sitting has answered

        def evaluate(folder: Path, factors: tuple[float, float], scales: Adapter | None) -> list[dict[str, Any]]:
            method = ("base" if scales is None else scales.method) + ("-prefixed" if selection.prefixed else "")
            pair = dict(zip(("q1", "q3"), factors, strict=True))
            answering = {**subject.settings(), "method": method, **pair}
            own = Run.open(folder, "eval", {**answering, "n": n, "seed": seed, **plain(selection)})
            if own.results:
                return list(own.results["rows"])
            place, started = settings.index(factors), time.monotonic()
            left = f", {sum(seconds) / len(seconds) * (len(settings) - place):.0f} s left" if seconds else ""
            say(f"setting {place + 1} of {len(settings)}: q1 x {factors[0]:g}, q3 x {factors[1]:g}{left}", as_json)
            rows = answer(own, loaded, cells, method=method, adapter=scales, watcher=console.Bars(as_json))
            seconds.append(time.monotonic() - started)
            return rows

        notes = {"task": there["tasks"], "heads_run": str(heads_run), "by": by, "seed": seed}
        scaling.sweep(run, loaded, found, settings, evaluate, notes)
    print_findings(run, of_quadrants(run.results or {}), as_json)
