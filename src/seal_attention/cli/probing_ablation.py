# SPDX-License-Identifier: Apache-2.0
"""`seal probe heads`, `fast` and `channels`: what the answers lose or gain without a head or channel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import console
from ..errors import UsageError
from ..runs import Run
from ..tasks.selection import Selection
from .options import (
    Attention,
    Data,
    Depths,
    Device,
    Dtype,
    Extend,
    Haystack,
    Json,
    Lengths,
    Model,
    Out,
    Prefixed,
    Questions,
    Revision,
    Seed,
    Sizes,
    Strength,
    Task,
    Trust,
    Window,
    window_settings,
)
from .probe_facts import of_channels, of_fast, of_heads
from .probing import BY, Asked, AtWork, By, Subject, chosen, examples_of, open_probe, print_findings, probe, say

if TYPE_CHECKING:
    from ..adapters import Adapter
    from ..models import LoadedModel
    from ..probing.silencing import Job


@probe.command()
def heads(
    model: Model = "smollm2-135m",
    adapter: AtWork = None,
    strength: Strength = 1.0,
    task: Task = "lines",
    lines: Sizes = None,
    length: Lengths = None,
    n: Asked = 50,
    depths: Depths = None,
    haystack: Haystack = None,
    data: Data = None,
    questions: Questions = None,
    prefixed: Prefixed = False,
    seed: Seed = 0,
    out: Out = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    attention: Attention = "auto",
    revision: Revision = None,
    trust: Trust = False,
    extend: Extend = None,
    window: Window = None,
    as_json: Json = False,
) -> None:
    """Silence each head in turn: the change of accuracy and answer log-probability, exact; give two sizes or more."""
    selection = Selection(task, lines, length, depths, questions, prefixed, haystack, data)
    wider = window_settings(extend, window)
    subject = Subject(model, adapter, strength, dtype, device, attention, revision, trust, wider)
    run = open_probe("heads", subject, chosen(selection, seed, n), out)
    if run.results is None:
        from ..probing import ablation
        from ..probing import heads as mapping
        from ..probing.silencing import RECORDS, read_cells

        loaded, applied = subject.load()
        parts = ablation.all_heads(loaded)
        jobs = [(example, parts) for example in examples_of(loaded, selection, seed, n)]
        _silence(run, loaded, jobs, f"each of {len(parts):,} heads", applied, as_json)
        run.finish(mapping.findings(read_cells(run.records(RECORDS))))
    print_findings(run, of_heads(run.results or {}), as_json)


@probe.command()
def fast(
    model: Model = "smollm2-135m",
    adapter: AtWork = None,
    strength: Strength = 1.0,
    task: Task = "lines",
    lines: Sizes = None,
    length: Lengths = None,
    n: Asked = 50,
    depths: Depths = None,
    haystack: Haystack = None,
    data: Data = None,
    questions: Questions = None,
    prefixed: Prefixed = False,
    top: Annotated[int, typer.Option(help="Heads of the largest effects to compare with their exact effect.")] = 20,
    exact: Annotated[
        Path | None,
        typer.Option(help="Run folder of a `seal probe heads` on the same questions, instead of silencing the top."),
    ] = None,
    batch: Annotated[int, typer.Option(help="Questions of a context that run at a time; fewer need less memory.")] = 8,
    checkpoint: Annotated[bool, typer.Option("--checkpoint", help="As in `seal tune`.")] = False,
    seed: Seed = 0,
    out: Out = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    attention: Attention = "auto",
    revision: Revision = None,
    trust: Trust = False,
    extend: Extend = None,
    window: Window = None,
    as_json: Json = False,
) -> None:
    """Estimate every head's effect from one backward pass a context, and check the largest exactly."""
    if top < 1 or batch < 1:
        raise UsageError(f"--top and --batch must be at least 1, not {top} and {batch}")
    selection = Selection(task, lines, length, depths, questions, prefixed, haystack, data)
    wider = window_settings(extend, window)
    subject = Subject(model, adapter, strength, dtype, device, attention, revision, trust, wider)
    asked = chosen(selection, seed, n)
    given = None
    if exact:
        from ..probing.heads import HeadsRun

        given = HeadsRun.read(exact)
        measured = subject.settings()
        stated = {name: measured[name] for name in ("model", "revision", "adapter_digest", "strength")}
        given.require_same({**stated, **asked})
    run = open_probe("fast", subject, {**asked, "top": top, "exact": exact and str(exact)}, out)
    if run.results is None:
        from ..probing import first_order
        from ..probing.silencing import RECORDS, read_cells

        loaded, applied = subject.load()
        examples = examples_of(loaded, selection, seed, n)
        say(f"one backward pass over each of {len(examples):,} contexts", as_json)
        first_order.estimate(
            run,
            loaded,
            examples,
            adapter=applied,
            batch=batch,
            checkpoint=checkpoint,
            watcher=console.Bars(as_json),
        )
        effects = first_order.read_effects(run.records(first_order.RECORDS))
        if given is None:
            strongest = {cell: first_order.strongest(own, top) for cell, own in effects.items()}
            jobs = [(each, strongest[each.sample.task, tuple(each.sample.cell.items())]) for each in examples]
            _silence(run, loaded, jobs, f"the {top} strongest heads", applied, as_json)
            known = first_order.exact_of(read_cells(run.records(RECORDS)))
        else:
            known = first_order.exact_of_run(given)
        run.finish(first_order.findings(effects, known, top))
    print_findings(run, of_fast(run.results or {}), as_json)


@probe.command()
def channels(
    heads: Annotated[
        str,
        typer.Option(
            help="Heads as LAYER:HEAD, several with commas (12:3,5:0), or the run folder of a `seal probe heads`: then "
            "the head whose silencing helps most and the one whose silencing hurts most."
        ),
    ],
    model: Annotated[
        str | None, typer.Argument(help="As elsewhere. [default: the model of --heads, or smollm2-135m]")
    ] = None,
    by: By = BY,
    adapter: AtWork = None,
    strength: Strength = 1.0,
    task: Task = "lines",
    lines: Sizes = None,
    length: Lengths = None,
    n: Asked = 50,
    depths: Depths = None,
    haystack: Haystack = None,
    data: Data = None,
    questions: Questions = None,
    prefixed: Prefixed = False,
    seed: Seed = 0,
    out: Out = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    attention: Attention = "auto",
    revision: Revision = None,
    trust: Trust = False,
    extend: Extend = None,
    window: Window = None,
    as_json: Json = False,
) -> None:
    """Silence each channel inside some heads: the change of accuracy and answer log-probability, exact."""
    from ..probing.ablation import Part
    from ..probing.channels import findings
    from ..probing.head_maps import parse_heads
    from ..probing.heads import HeadsRun

    given = HeadsRun.read(Path(heads)) if Path(heads).is_dir() else None
    picked = list(given.extremes(by)) if given else [Part(*pair) for pair in parse_heads(heads)]
    named = model or (given.settings["model"] if given else "smollm2-135m")
    selection = Selection(task, lines, length, depths, questions, prefixed, haystack, data)
    wider = window_settings(extend, window)
    subject = Subject(named, adapter, strength, dtype, device, attention, revision, trust, wider)
    stated = {"heads": [list(part[:2]) for part in picked], **chosen(selection, seed, n)}
    run = open_probe("channels", subject, stated, out)
    if run.results is None:
        from ..probing import ablation
        from ..probing.silencing import RECORDS, read_cells

        loaded, applied = subject.load()
        parts = ablation.all_channels(loaded, picked)
        jobs = [(example, parts) for example in examples_of(loaded, selection, seed, n)]
        _silence(run, loaded, jobs, f"each of {len(parts):,} channels", applied, as_json)
        run.finish(findings(read_cells(run.records(RECORDS))))
    print_findings(run, of_channels(run.results or {}), as_json)


def _silence(
    run: Run, loaded: LoadedModel, jobs: Sequence[Job], what: str, adapter: Adapter | None, as_json: bool
) -> None:
    """Say what it costs, then silence and record."""
    from ..probing import silencing

    asked, plainly = silencing.cost(loaded, jobs), sum(example.tokens for example, _ in jobs)
    total = sum(len(example.questions) for example, _ in jobs)
    say(
        f"silencing {what} in {len(jobs):,} contexts with {total:,} questions: {asked:,.0f} tokens to read, "
        f"{asked / plainly:,.0f} times what asking once takes; stop at any time, the same command goes on",
        as_json,
    )
    silencing.silence(run, loaded, jobs, adapter=adapter, watcher=console.Bars(as_json))
