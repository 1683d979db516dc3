# SPDX-License-Identifier: Apache-2.0
"""`seal plan`: what was typed for `seal tune` -> what that will take."""

from __future__ import annotations

from typing import Annotated

import typer

from ..tasks.selection import Selection
from .app import app, print_facts
from .options import (
    Data,
    Depths,
    Device,
    Dtype,
    Extend,
    Haystack,
    Json,
    Lengths,
    Model,
    Questions,
    Readings,
    Revision,
    Sizes,
    Spread,
    Task,
    Trust,
    Window,
    window_settings,
)
from .tuning import cells_of, rate_of


@app.command()
def plan(
    model: Model = "smollm2-135m",
    task: Task = "lines",
    lines: Sizes = None,
    length: Lengths = None,
    depths: Depths = None,
    haystack: Haystack = None,
    data: Data = None,
    questions: Questions = None,
    samples: Annotated[int, typer.Option(help="Contexts.")] = 50,
    readings: Readings = 1,
    lr: Annotated[
        str | None, typer.Option(help="auto: count what `seal tune --lr auto` takes to choose a rate.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Questions of a context that run at a time.")] = 8,
    checkpoint: Annotated[bool, typer.Option("--checkpoint", help="As in `seal tune`.")] = False,
    offload: Annotated[bool, typer.Option("--offload", help="As in `seal tune`.")] = False,
    gradient: Annotated[str, typer.Option(help="As in `seal tune`: exact or prefix-frozen.")] = "exact",
    spread: Spread = None,
    extend: Extend = None,
    window: Window = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    revision: Revision = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Say before a long job what it will take: tokens, estimated peak memory and time on this machine."""
    from .. import devices, loading, planning
    from ..extension import extended
    from ..prompts import Encoder
    from ..tasks.mixture import mixed
    from ..tasks.sizing import fitted, parse_counts
    from ..tuning import rate_search
    from ..tuning.loop import FROZEN, TuneSettings
    from ..tuning.spreading import require_reach, spare_positions

    # Refused as `seal tune` would refuse them.
    settings = TuneSettings("seal-c", rate_of(lr, "seal-c"), False, readings, batch, checkpoint, offload, gradient)
    target = devices.pick_device(device)
    skeleton = loading.skeleton(model, loading.local_folder(model, revision), trust_remote_code=trust)
    bare = extended(skeleton, **window_settings(extend, window))
    (width,) = parse_counts("--spread", spread) if spread else (0,)
    require_reach(bare, width)
    selection = Selection(task, lines, length, depths, questions, haystack=haystack, data=data, tuning=True)
    encoder = Encoder(bare.tokenizer)
    cells, shares = cells_of(selection, encoder)
    firsts = [fitted(cell, encoder.budget, 0, "train", 0) for cell in cells]
    for first in firsts if width else ():
        spare_positions(encoder.encode(first), width)
    held_out = rate_search.HELD_OUT if lr == rate_search.AUTO else 0
    drawn = mixed(cells, shares, samples + held_out, 0, lambda sample: 0)  # counted only, so not fitted to their tokens
    facts = planning.plan(
        bare,
        firsts,
        shares,
        devices.pick_dtype(dtype, target),
        target,
        contexts=samples,
        questions=sum(len(sample.questions) for sample in drawn[:samples]),
        batch=batch,
        checkpoint=checkpoint,
        offload=offload,
        frozen=gradient == FROZEN,
        readings=readings,
        spread=width,
    )
    if held_out:
        search = rate_search.RateSearch(drawn[:samples], drawn[samples:], settings)
        facts["choosing_seconds"] = round(search.share(encoder) * facts["tuning_seconds"])
    print_facts(facts, as_json)
