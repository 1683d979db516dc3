# SPDX-License-Identifier: Apache-2.0
"""`seal show`, `seal report` and `seal merge`: a prompt, a page, a model to keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .. import console
from ..tasks.selection import Selection
from .app import app, load_model, print_facts, warn
from .options import (
    Data,
    Depths,
    Device,
    Haystack,
    Json,
    Lengths,
    Model,
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


@app.command()
def show(
    model: Model = "smollm2-135m",
    task: Task = "lines",
    lines: Sizes = None,
    length: Lengths = None,
    depths: Depths = None,
    haystack: Haystack = None,
    data: Data = None,
    questions: Questions = None,
    prefixed: Prefixed = False,
    index: Annotated[int, typer.Option(help="Which sample.")] = 0,
    seed: Seed = 0,
    split: Annotated[Literal["train", "test"], typer.Option(help="train or test.")] = "train",
    revision: Revision = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Print a sample as the model reads it: decoded token ids, the answer that is learnt marked."""
    from ..loading import load_tokenizer
    from ..prompts import Encoder
    from ..tasks.sizing import fitted

    encoder = Encoder(load_tokenizer(model, revision=revision, trust_remote_code=trust))
    selection = Selection(
        task, lines, length, depths, questions or 1, prefixed, haystack, data, tuning=split == "train"
    )
    shown_task = selection.cells(encoder.budget, default_lines="10")[0]
    example = encoder.encode(fitted(shown_task, encoder.budget, seed, split, index))
    decode = encoder.tokenizer.decode
    shown = [(decode(example.prompt_ids(q)), decode(q.answer_ids)) for q in example.questions]
    facts = {"prompt_tokens": example.longest_prompt, "shared_tokens": len(example.prefix_ids),
             "answer_tokens": len(example.questions[0].answer_ids)}  # fmt: skip
    if as_json:
        print(json.dumps({**facts, "questions": [{"prompt": prompt, "answer": answer} for prompt, answer in shown]}))
        return
    for prompt, answer in shown:
        console.show_prompt(prompt, answer)
    console.show_facts(facts)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of `seal eval`, `seal tune` and `seal probe`.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    figures: Annotated[
        Path | None, typer.Option(help="Also write every figure to this folder, as PNG and SVG for papers.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn run folders into one self-contained HTML page: tables, curves, head maps, answers side by side."""
    from ..report import build_report, export_figures

    facts: dict[str, Any] = {"page": str(build_report(runs, out))}
    if figures is not None:
        facts |= {"figures": str(figures), "files": len(export_figures(out, figures))}
    print_facts(facts, as_json)


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="SEAL-H or SEAL-C adapter folder.")],
    out: Annotated[Path, typer.Option(help="New folder for the merged model.")],
    model: Annotated[
        str, typer.Option(help="The model the adapter was tuned on. [default: the one named in the adapter]")
    ] = "",
    strength: Strength = 1.0,
    extend: Annotated[
        str | None,
        typer.Option(
            help="Window extension to write down, as in `seal tune`. [default: what the adapter was tuned under]"
        ),
    ] = None,
    window: Window = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Run adapted and merged model side by side: largest logit gap, greedy agreement."
        ),
    ] = False,
    dtype: Annotated[str, typer.Option(help="Precision of --verify.")] = "auto",
    device: Device = "auto",
    revision: Revision = None,
    as_json: Json = False,
) -> None:
    """Fold the scales into the output projections and save a complete model folder that needs no adapter."""
    from .. import adapters
    from ..export import merge as merging
    from ..export import windows
    from ..runs import load_json
    from ..tasks.lines import Lines
    from ..tasks.sizing import draw

    told = adapters.describe(adapter)
    base = model or told["base"]["name"]
    tuned_under = told.get("extension", {})
    wider = {name: tuned_under[name] for name in ("extend", "native_window") if tuned_under}
    wider |= window_settings(extend, window)
    changed = merging.merge(base, adapter, out, revision=revision, strength=strength, tell=warn, **wider)
    facts: dict[str, Any] = {"merged": str(out), "base": base, "tensors_changed": len(changed)}
    if noted := load_json(out / merging.RECORD)["merged"][-1].get("extension"):
        facts |= {"window": noted["window"], "extension": noted.get("serving") or f"{noted['extend']}, in config.json"}
    if verify:
        loaded = load_model(base, dtype, device, "auto", revision, False, **wider)
        left_out = {} if windows.in_config(wider.get("extend")) else wider
        folded = load_model(str(out), dtype, device, "auto", None, False, **left_out)
        samples = draw(Lines(20, 4), "test", 1, 16)
        facts |= merging.verify(loaded, adapters.load(adapter, loaded, strength), folded, samples)
    print_facts(facts, as_json)
