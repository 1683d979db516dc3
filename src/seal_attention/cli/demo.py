# SPDX-License-Identifier: Apache-2.0
"""`seal demo`: the whole method in one sitting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .. import console
from .app import app
from .options import Device, Dtype, Json


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo's runs.")] = Path("runs/demo"),
    quick: Annotated[
        bool, typer.Option("--quick", help="A small form of it, under four minutes, to see that everything works.")
    ] = False,
    dtype: Dtype = "auto",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Run the whole method on the embedded model: evaluate, tune SEAL-H and SEAL-C, evaluate, merge, report."""
    from dataclasses import replace

    from ..demo import QUICK, DemoSettings, run_demo

    settings = replace(QUICK if quick else DemoSettings(), dtype=dtype, device=device)
    show = (lambda rows: None) if as_json else console.show_latest
    tell = (lambda text: None) if as_json else console.say
    tell(
        f"line retrieval by {settings.model}: six stages, {len(settings.sizes)} sizes, {settings.cell_questions} "
        f"questions a cell, two methods tuned on {settings.samples} contexts of {settings.tuned_lines} lines; "
        "stop at any time, the same command goes on"
    )
    summary = run_demo(out, settings, console.Bars(as_json), show, tell)
    if as_json:
        print(json.dumps(summary))
        return
    console.show_grid(summary["rows"])
    console.show_facts({"merged model": summary["merged"], "page": summary["report"], "summary": out / "summary.json"})
