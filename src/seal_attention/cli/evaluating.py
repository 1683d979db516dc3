# SPDX-License-Identifier: Apache-2.0
"""`seal eval` and `seal compare`: answers scored, and two runs paired question by question."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import console
from ..errors import UsageError
from ..evaluation.cells import Cell
from ..evaluation.summaries import THRESHOLD, averages, effective, effective_average
from ..runs import Run, plain
from ..samples import Sample
from ..tasks.selection import Selection
from ..tasks.sizing import Budget, draw
from .app import app, load_adapter, load_model
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
    default_folder,
    window_settings,
)
from .tables import show_comparison, show_rows

if TYPE_CHECKING:
    from ..prompts import Encoder
    from ..tasks.task import Task as AnyTask

DEFAULT_TOKENIZER = "smollm2-135m"


@app.command("eval")
def evaluate(
    model: Model = "smollm2-135m",
    adapter: Annotated[Path | None, typer.Option(help="Adapter folder; without one the base model answers.")] = None,
    strength: Strength = 1.0,
    task: Task = "lines",
    lines: Sizes = None,
    length: Lengths = None,
    n: Annotated[int, typer.Option("--n", help="Questions a cell, rounded up to whole contexts.")] = 100,
    depths: Depths = None,
    haystack: Haystack = None,
    data: Data = None,
    questions: Questions = None,
    cases: Annotated[
        Path | None, typer.Option(help="The benchmark's own test-case file (JSON lines) instead of generated text.")
    ] = None,
    prefixed: Prefixed = False,
    extend: Extend = None,
    window: Window = None,
    seed: Seed = 0,
    threshold: Annotated[
        float, typer.Option(help="What every cell must score for its length to count as effective; RULER's: 0.856.")
    ] = THRESHOLD,
    endpoint: Annotated[
        str | None,
        typer.Option(help="Address of a server that speaks the OpenAI API, which serves MODEL: http://HOST:PORT/v1."),
    ] = None,
    concurrency: Annotated[int, typer.Option(help="With --endpoint: questions under way at once.")] = 8,
    timeout: Annotated[float, typer.Option(help="With --endpoint: seconds that one request may take.")] = 600.0,
    attempts: Annotated[int, typer.Option(help="With --endpoint: requests made for one answer.")] = 5,
    prefill: Annotated[
        bool,
        typer.Option(
            "--prefill",
            help="With --endpoint: put an answer's given first words into the assistant's turn, which vLLM, SGLang and "
            "llama.cpp go on with; by default they end the user's turn, as in RULER's clients.",
        ),
    ] = False,
    extra_body: Annotated[
        str | None,
        typer.Option(help="With --endpoint: JSON object to add to every request; it is written into the manifest."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="With --endpoint: model whose tokenizer counts a --length, hub id or folder. [default: smollm2-135m]"
        ),
    ] = None,
    out: Out = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    attention: Attention = "auto",
    revision: Revision = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Answer every question greedily and score it; every prediction is kept, a rerun resumes."""
    if not 0 <= threshold <= 1:
        raise UsageError(f"--threshold takes a score from 0 to 1 such as 0.85, not {threshold:g}")
    selection = Selection(task, lines, length, depths, questions, prefixed, haystack, data)
    given = _cases(selection, cases) if cases else None
    if given is None:
        selection.cells(None)  # refuse bad sizes before anything is loaded
    wider = window_settings(extend, window)
    asked = {"n": n, "cases": cases and str(cases), "seed": seed, **plain(selection)}
    answering: dict[str, Any]
    server = None
    if endpoint is None:
        from .. import adapters

        _refuse("belongs to --endpoint", {"--prefill": prefill, "--extra-body": extra_body, "--tokenizer": tokenizer})
        method = adapters.describe(adapter)["method"] if adapter else "base"
        digest = adapters.digest(adapter) if adapter else None
        answering = {"model": model, "revision": revision, "dtype": dtype, "attention": attention,
                     "adapter": adapter and str(adapter), "adapter_digest": digest, "strength": strength,
                     **wider}  # fmt: skip
    else:
        here = {"--adapter": adapter, "--strength": strength != 1.0, "--dtype": dtype != "auto",
                "--device": device != "auto", "--attention": attention != "auto", "--revision": revision,
                "--trust-remote-code": trust, "--extend": extend, "--window": window}  # fmt: skip
        from ..endpoints import Endpoint

        _refuse(f"can't reach into the server at {endpoint} (which may serve what `seal merge` wrote)", here)
        server = Endpoint(endpoint, model, timeout, attempts, extra=_json_object(extra_body))
        method = "endpoint"
        answering = {"model": model, "endpoint": endpoint, "extra_body": dict(server.extra),
                     "answer_prefix": "assistant turn" if prefill else "user turn",
                     "tokenizer": tokenizer or DEFAULT_TOKENIZER}  # fmt: skip
    method += "-prefixed" if prefixed else ""
    settings = {**answering, "method": method, **asked}
    run = Run.open(out or default_folder("eval", method, settings), "eval", settings)
    rows = run.results["rows"] if run.results else None
    watcher, show = console.Bars(as_json), (lambda rows: None) if as_json else console.show_latest
    if rows is None and server is None:
        from ..evaluation.local import evaluate as evaluate_model
        from ..prompts import Encoder

        loaded = load_model(model, dtype, device, attention, revision, trust, **wider)
        cells = given or _cells(selection, seed, n, Encoder(loaded.tokenizer).budget)
        applied = load_adapter(adapter, loaded, strength)
        rows = evaluate_model(run, loaded, cells, method=method, adapter=applied, watcher=watcher, on_rows=show)
    elif rows is None and server is not None:
        from ..evaluation.remote import evaluate_endpoint

        cells = given or _cells(selection, seed, n, _counted_by(tokenizer))
        rows = evaluate_endpoint(
            run, server, cells, method=method, continued=prefill, concurrency=concurrency, watcher=watcher, on_rows=show
        )
    assert rows is not None
    if as_json:
        average = averages(rows)
        reached = [*effective(rows, threshold), *([whole] if (whole := effective_average(average, threshold)) else [])]
        facts = {"threshold": threshold, "effective": [asdict(each) for each in reached], "averages": average}
        print(json.dumps({"rows": rows, "run": str(run.folder), **facts}))
    else:
        show_rows(rows, threshold)
        console.show_facts({"predictions": run.folder / "predictions.jsonl"})


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Run folder of a `seal eval`.")],
    second: Annotated[Path, typer.Argument(help="Another one, of the same task, sizes and seed.")],
    as_json: Json = False,
) -> None:
    """Pair two evaluations question by question: difference (second - first), interval, exact McNemar test.

    Also says which settings and versions differ between the two, and whether their prompts did.
    """
    from ..evaluation.comparison import compare as compare_runs

    comparison = compare_runs(first, second)
    if as_json:
        warning = {"warning": comparison.warning} if comparison.warning else {}
        print(json.dumps({"rows": comparison.rows, "differs": comparison.differs, **warning}))
    else:
        show_comparison(comparison)


def _cells(selection: Selection, seed: int, questions: int, budget: Budget) -> list[Cell]:
    """The cells, short sizes first; each makes its samples when they are wanted, so that no text is held for long."""

    def drawn(task: AnyTask) -> Iterator[Sample]:
        yield from draw(task, "test", seed, questions, budget)

    tasks = sorted(selection.cells(budget), key=lambda task: task.length or task.units)
    return [Cell(drawn(task), task.scores) for task in tasks]


def _cases(selection: Selection, path: Path) -> list[Cell]:
    tasks = selection.found()
    if len(tasks) != 1:
        raise UsageError(f"--cases {path} belongs to one task, not {len(tasks)}; give one --task")
    return [Cell(tasks[0].read_cases(path), tasks[0].scores)]


def _counted_by(tokenizer: str | None) -> Budget:
    """Tokens as a tokenizer counts them, loaded (and named, where nobody did) when a length is first asked for."""

    @cache
    def encoder() -> Encoder:
        from ..loading import load_tokenizer
        from ..prompts import Encoder

        if tokenizer is None:
            console.say(f"lengths are counted by the tokenizer of {DEFAULT_TOKENIZER}; name another with --tokenizer")
        return Encoder(load_tokenizer(tokenizer or DEFAULT_TOKENIZER))

    return lambda sample: encoder().budget(sample)


def _refuse(reason: str, options: Mapping[str, Any]) -> None:
    """UsageError where any of the options was given."""
    if given := [name for name, value in options.items() if value]:
        raise UsageError(f"{given[0]} {reason}; leave {' and '.join(given)} out")


def _json_object(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"--extra-body takes a JSON object such as '{{\"top_k\": 1}}', not {text!r}")
    return value
