# SPDX-License-Identifier: Apache-2.0
"""`seal tune`: generated samples -> an adapter."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .. import console
from ..errors import UsageError
from ..tasks.selection import Selection
from .app import app, load_model, print_facts
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
    Questions,
    Readings,
    Revision,
    Seed,
    Sizes,
    Spread,
    Task,
    Trust,
    Window,
    default_folder,
    window_settings,
)


@app.command()
def tune(
    model: Model = "smollm2-135m",
    method: Annotated[
        str, typer.Option(help="seal-h (a scale a head), seal-c (a scale a channel), seal-l (LoRA), seal-d (DoRA).")
    ] = "seal-c",
    task: Task = "lines",
    lines: Sizes = None,
    length: Lengths = None,
    depths: Depths = None,
    haystack: Haystack = None,
    data: Data = None,
    questions: Questions = None,
    samples: Annotated[int, typer.Option(help="Contexts to tune on.")] = 50,
    lr: Annotated[
        str | None,
        typer.Option(
            help="AdamW's constant learning rate, or auto: chosen by short tunings on contexts kept apart. "
            "[default: seal-h 0.15, seal-c 0.03, seal-l and seal-d 0.0002]"
        ),
    ] = None,
    average: Annotated[
        bool | None,
        typer.Option(
            help="Keep the mean of the last half of the steps. [default: for seal-h and seal-c]",
            show_default=False,
        ),
    ] = None,
    readings: Readings = 1,
    batch: Annotated[int, typer.Option(help="Questions of a context that run at a time; fewer need less memory.")] = 8,
    checkpoint: Annotated[
        bool,
        typer.Option(
            "--checkpoint", help="Recompute the prefix layer by layer: far less memory, about the same time on a CPU."
        ),
    ] = False,
    offload: Annotated[
        bool,
        typer.Option(
            "--offload", help="Keep what --checkpoint keeps in the host's memory: for a GPU that is too small."
        ),
    ] = False,
    gradient: Annotated[
        str,
        typer.Option(
            help="exact, or prefix-frozen: leaves out what the scales do to the context itself, which takes the memory "
            "of inference and less time, and is an approximation."
        ),
    ] = "exact",
    spread: Spread = None,
    extend: Extend = None,
    window: Window = None,
    seed: Seed = 0,
    out: Out = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    attention: Attention = "auto",
    revision: Revision = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Tune an adapter on generated samples; the adapter is a standard PEFT folder inside the run folder."""
    from dataclasses import replace

    from ..devices import pick_device
    from ..processes import PROCESS
    from ..prompts import Encoder
    from ..runs import Run, plain
    from ..tasks.mixture import mixed
    from ..tasks.sizing import parse_counts
    from ..tuning import rate_search
    from ..tuning.loop import AVERAGED, TuneSettings
    from ..tuning.loop import tune as run_tuning

    settings = TuneSettings(
        method,
        rate_of(lr, method),
        method in AVERAGED if average is None else average,
        readings,
        batch,
        checkpoint,
        offload,
        gradient,
        parse_counts("--spread", spread)[0] if spread else None,
        seed,
    )
    if samples < 1:
        raise UsageError(f"--samples must be at least 1, not {samples}; 50 is the default")
    selection = Selection(task, lines, length, depths, questions, haystack=haystack, data=data, tuning=True)
    selection.cells(None)  # refuse bad sizes before anything is loaded
    wider = window_settings(extend, window)
    asked = {"model": model, "revision": revision, "dtype": dtype, "attention": attention, "samples": samples,
             **plain(selection), **plain(settings), **wider}  # fmt: skip
    held_out = 0
    if lr == rate_search.AUTO:
        asked["lr"], held_out = lr, rate_search.HELD_OUT
    with PROCESS.in_turn(pick_device(device).type == "cpu"):
        run = Run.open(out or default_folder("tune", method, asked), "tune", asked)
    results = run.results
    if results is None:
        loaded = load_model(model, dtype, device, attention, revision, trust, **wider)
        encoder = Encoder(loaded.tokenizer)
        cells, shares = cells_of(selection, encoder)
        drawn = mixed(cells, shares, samples + held_out, seed, encoder.budget)
        contexts = drawn[:samples]
        notes = {"task": selection.tasks, **(cells[0].cell if len(cells) == 1 else {}), "samples": samples,
                 "questions": cells[0].questions}  # fmt: skip
        quiet = as_json or PROCESS.rank > 0
        watcher = console.Bars(quiet)
        if held_out:
            search = rate_search.RateSearch(contexts, drawn[samples:], settings)
            tell = (lambda text: None) if quiet else console.say
            tried = rate_search.try_rates(run, loaded, search, watcher=watcher, tell=tell)
            settings = replace(settings, lr=rate_search.best(tried))
            notes["lr_chosen_from"] = sorted(tried)
        run_tuning(run, loaded, contexts, settings, notes=notes, watcher=watcher)
        results = run.results
    if PROCESS.rank == 0:
        print_facts({**(results or {}), "run": str(run.folder)}, as_json)
    PROCESS.leave()


def rate_of(typed: str | None, method: str) -> float:
    """The rate typed; the method's default where none was, and for the search to begin from."""
    from ..tuning.loop import DEFAULT_RATES
    from ..tuning.rate_search import AUTO

    usual = DEFAULT_RATES.get(method, 1.0)
    if typed is None or typed == AUTO:
        return usual
    try:
        return float(typed)
    except ValueError:
        raise UsageError(
            f"--lr must be {AUTO} or a number above 0, not {typed!r}; {usual} is the default of {method}"
        ) from None


def cells_of(selection: Selection, encoder: Any) -> tuple[list[Any], list[float]]:
    """The tasks to tune on at their sizes, and what share of the samples each gets."""
    cells = selection.cells(encoder.budget)
    weights = selection.weights()
    return cells, [weights[cell.name] / sum(cell.name == other.name for other in cells) for cell in cells]
