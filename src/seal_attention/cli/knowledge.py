# SPDX-License-Identifier: Apache-2.0
"""`seal perplexity` and `seal lm-eval`: what a model that was tuned still knows of everything else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from .. import console
from .app import app, load_adapter, load_model
from .options import (
    Attention,
    Device,
    Dtype,
    Extend,
    Json,
    Model,
    Out,
    Revision,
    Strength,
    Trust,
    Window,
    default_folder,
    one_count,
    window_settings,
)

Adapter = Annotated[Path | None, typer.Option(help="Adapter folder; base and adapter are then measured side by side.")]


@app.command()
def perplexity(
    model: Model = "smollm2-135m",
    adapter: Adapter = None,
    strength: Strength = 1.0,
    text: Annotated[
        Path | None,
        typer.Option(help="Folder of .txt files, read by name. [default: Python's language reference, from pydoc]"),
    ] = None,
    limit: Annotated[
        str | None,
        typer.Option("--bytes", help="Read no more of the text, the same for any tokenizer: 64k. [default: all]"),
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Tokens the model sees together. [default: 2k, or the model's window]")
    ] = None,
    stride: Annotated[
        str | None,
        typer.Option(help="Tokens that a window adds to the one before; fewer: more context. [default: half of it]"),
    ] = None,
    extend: Extend = None,
    native_window: Annotated[
        str | None, typer.Option(help="What other commands call --window: hold the model's own window down, as to 2k.")
    ] = None,
    out: Out = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    attention: Attention = "auto",
    revision: Revision = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Measure what tuning costs in ordinary text: perplexity and bits a byte, base and adapter on the same windows."""
    from .. import adapters
    from ..knowledge import perplexity as measuring
    from ..knowledge import plain_text
    from ..runs import Run

    size, step = one_count("--window", window), one_count("--stride", stride)
    documents = plain_text.read_documents(text, one_count("--bytes", limit))
    method = adapters.describe(adapter)["method"] if adapter else "base"
    wider = window_settings(extend, native_window)
    asked = {"model": model, "revision": revision, "dtype": dtype, "attention": attention,
             "adapter": adapter and str(adapter), "adapter_digest": adapter and adapters.digest(adapter),
             "strength": strength, "text": text and str(text), "text_digest": plain_text.digest(documents),
             "window": window, "stride": stride, **wider}  # fmt: skip
    run = Run.open(out or default_folder("perplexity", method, asked), "perplexity", asked)
    results = run.results
    if results is None:
        loaded = load_model(model, dtype, device, attention, revision, trust, **wider)
        applied = load_adapter(adapter, loaded, strength)
        results = measuring.measure(
            run, loaded, documents, window=size, stride=step, adapter=applied, watcher=console.Bars(as_json)
        )
    if as_json:
        print(json.dumps({**results, "run": str(run.folder)}))
        return
    columns = ["method", "documents", "tokens", "nats_per_token", "bits_per_byte", "perplexity", "low", "high"]
    _show_table(columns, results["rows"])
    change = results["difference"]
    if change is not None:
        console.show_facts({"difference": _difference(change)})
    console.show_facts({"windows": run.folder / measuring.RECORDS})


@app.command("lm-eval")
def lm_eval(
    model: Model = "smollm2-135m",
    adapter: Adapter = None,
    strength: Strength = 1.0,
    tasks: Annotated[
        str, typer.Option("--tasks", "--task", help="Tasks or groups of lm-eval, several with commas.")
    ] = "mmlu",
    limit: Annotated[int | None, typer.Option(help="Questions of each task. [default: all]")] = None,
    shots: Annotated[
        int | None, typer.Option(help="Worked examples before a question. [default: as the task says]")
    ] = None,
    base: Annotated[bool, typer.Option("--base/--no-base", help="With an adapter, ask the base model too.")] = True,
    chat: Annotated[bool, typer.Option("--chat", help="Ask within the model's chat template.")] = False,
    batch: Annotated[int, typer.Option(help="Questions at a time; figures may move a little with it.")] = 1,
    include: Annotated[
        Path | None,
        typer.Option(help="Folder of task files of your own. Their YAML may run Python: only folders you trust."),
    ] = None,
    extend: Extend = None,
    window: Window = None,
    out: Out = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    attention: Attention = "auto",
    revision: Revision = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Ask MMLU, or any task of EleutherAI's lm-eval (an extra: pip install 'seal-attention[lm-eval]')."""
    from .. import adapters
    from ..knowledge import harness
    from ..runs import Run, plain

    names = tuple(name.strip() for name in tasks.split(",") if name.strip())
    examination = harness.Examination(names, limit, shots, batch, chat, str(include) if include else None)
    method = adapters.describe(adapter)["method"] if adapter else "base"
    wider = window_settings(extend, window)
    asked = {"model": model, "revision": revision, "dtype": dtype, "attention": attention,
             "adapter": adapter and str(adapter), "adapter_digest": adapter and adapters.digest(adapter),
             "strength": strength, "base": base, "lm_eval": harness.version(),
             **plain(examination), **wider}  # fmt: skip
    run = Run.open(out or default_folder("lm-eval", method, asked), "lm-eval", asked)
    results = run.results
    if results is None:
        manager = harness.task_manager(examination)
        loaded = load_model(model, dtype, device, attention, revision, trust, **wider)
        applied = load_adapter(adapter, loaded, strength)
        results = harness.examine(run, loaded, examination, manager, adapter=applied, with_base=base)
    if as_json:
        print(json.dumps({**results, "run": str(run.folder)}))
        return
    _show_table(["method", "task", "metric", "shots", "n", "value", "low", "high"], results["rows"])
    if results["pairs"]:
        _show_table(["task", "metric", "n", "difference", "low", "high", "only_first", "only_second", "p_value"],
                    results["pairs"])  # fmt: skip
    console.show_facts({"answers": run.folder})


def _difference(change: Mapping[str, Any]) -> str:
    """A paired difference in words."""
    interval = "" if change["low"] is None else f" ({change['low']:+.5f} to {change['high']:+.5f})"
    return (
        f"{change['second']} - {change['first']}: {change['nats_per_token']:+.5f}{interval} nats a token, "
        f"{change['percent']:+.3f} % of the perplexity; 95 % interval over {change['n']} {change['interval_over']}"
    )


def _show_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as a table, tab-separated in a pipe."""
    cells = [[_shown(row[column]) for column in columns] for row in rows]
    if not console.OUT.is_terminal:
        print("\n".join("\t".join(line) for line in [list(columns), *cells]))
        return
    table = Table(box=None, header_style="bold", padding=(0, 2))
    for column in columns:
        words = column in ("method", "task", "metric")
        table.add_column(column.replace("_", " "), justify="left" if words else "right")
    for line in cells:
        table.add_row(*line)
    console.OUT.print(table)


def _shown(value: Any) -> str:
    """A cell: floats to four decimals, nothing for what is unknown."""
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
