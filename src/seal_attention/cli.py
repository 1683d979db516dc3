# SPDX-License-Identifier: Apache-2.0
"""What was typed -> one stage called and its result printed. No logic of its own; heavy imports wait for a command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from . import console
from .errors import UsageError
from .options import (
    Attention,
    Device,
    Dtype,
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
    default_folder,
    sizes_of,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Make a language model find what stands in its long prompt: learn one scale a head or channel of its "
    "attention, then fold the scales into the weights.",
    epilog="Start with `seal demo`. An error prints a traceback only with --debug.",
)


def complain(sentence: str) -> None:
    """Print an error."""
    console.say(f"seal: {sentence}", "red")


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

    from .demo import QUICK, DemoSettings, run_demo

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


@app.command()
def tune(
    model: Model = "smollm2-135m",
    method: Annotated[
        str, typer.Option(help="seal-h (a scale a head), seal-c (a scale a channel), seal-l (LoRA), seal-d (DoRA).")
    ] = "seal-c",
    task: Task = "lines",
    lines: Sizes = None,
    length: Lengths = None,
    questions: Questions = None,
    samples: Annotated[int, typer.Option(help="Contexts to tune on.")] = 50,
    lr: Annotated[
        float | None,
        typer.Option(
            help="AdamW's constant learning rate. [default: seal-h 0.15, seal-c 0.02, seal-l and seal-d 0.0002]"
        ),
    ] = None,
    average: Annotated[
        bool | None,
        typer.Option(
            help="Keep the mean of the last half of the steps. [default: for seal-h and seal-c]", show_default=False
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Times each context is seen.")] = 1,
    batch: Annotated[int, typer.Option(help="Questions of a context that run at a time; fewer need less memory.")] = 8,
    checkpoint: Annotated[
        bool,
        typer.Option(
            "--checkpoint", help="Recompute the prefix layer by layer: far less memory, about the same time on a CPU."
        ),
    ] = False,
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
    from .prompts import Encoder
    from .runs import Run, plain
    from .tasks import draw
    from .tuning.loop import AVERAGED, DEFAULT_RATES, TuneSettings
    from .tuning.loop import tune as run_tuning

    settings = TuneSettings(
        method,
        DEFAULT_RATES.get(method, 1.0) if lr is None else lr,
        method in AVERAGED if average is None else average,
        epochs,
        batch,
        checkpoint,
        seed,
    )
    if samples < 1:
        raise UsageError(f"--samples must be at least 1, not {samples}; 50 is the default")
    asked = {"model": model, "revision": revision, "dtype": dtype, "attention": attention, "task": task, "lines": lines,
             "length": length, "questions": questions, "samples": samples, **plain(settings)}  # fmt: skip
    sizes_of(task, lines, length, questions, most=24)  # refuse bad sizes before anything is loaded
    run = Run.open(out or default_folder("tune", method, asked), "tune", asked)
    results = run.results
    if results is None:
        loaded = _load(model, dtype, device, attention, revision, trust)
        sizes = sizes_of(task, lines, length, questions, encoder=Encoder(loaded.tokenizer), most=24)
        if len(sizes) != 1:
            raise UsageError(f"tuning takes one size, not {len(sizes)}; give one value to --lines or --length")
        contexts = draw(sizes[0], "train", seed, samples * sizes[0].questions)
        notes = {"task": task, **sizes[0].cell, "questions": sizes[0].questions, "samples": samples}
        run_tuning(run, loaded, contexts, settings, notes=notes, watcher=console.Bars(as_json))
        results = run.results
    _print({**(results or {}), "run": str(run.folder)}, as_json)


@app.command("eval")
def evaluate(
    model: Model = "smollm2-135m",
    adapter: Annotated[Path | None, typer.Option(help="Adapter folder; without one the base model answers.")] = None,
    strength: Strength = 1.0,
    task: Task = "lines",
    lines: Sizes = None,
    length: Lengths = None,
    n: Annotated[int, typer.Option("--n", help="Questions a cell, rounded up to whole contexts.")] = 100,
    questions: Questions = None,
    cases: Annotated[
        Path | None, typer.Option(help="The benchmark's own test-case file (JSON lines) instead of generated text.")
    ] = None,
    prefixed: Prefixed = False,
    seed: Seed = 0,
    out: Out = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    attention: Attention = "auto",
    revision: Revision = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Answer every question greedily and score it; every prediction is kept, a rerun resumes."""
    from . import adapters
    from .evaluation import evaluate as run_evaluation
    from .prompts import Encoder
    from .runs import Run

    method = adapters.describe(adapter)["method"] if adapter else "base"
    method += "-prefixed" if prefixed else ""
    digest = adapters.digest(adapter) if adapter else None
    asked = {"model": model, "revision": revision, "dtype": dtype, "attention": attention,
             "adapter": adapter and str(adapter), "adapter_digest": digest, "strength": strength, "method": method,
             "task": task, "lines": lines, "length": length, "n": n, "questions": questions,
             "cases": cases and str(cases), "prefixed": prefixed, "seed": seed}  # fmt: skip
    given = _cases(task, cases, prefixed) if cases else None
    if given is None:
        sizes_of(task, lines, length, questions, prefixed)
    run = Run.open(out or default_folder("eval", method, asked), "eval", asked)
    rows = run.results["rows"] if run.results else None
    if rows is None:
        loaded = _load(model, dtype, device, attention, revision, trust)
        cells = given or _cells(sizes_of(task, lines, length, questions, prefixed, Encoder(loaded.tokenizer)), seed, n)
        applied = adapters.load(adapter, loaded, strength) if adapter else None
        show = (lambda rows: None) if as_json else console.show_latest
        rows = run_evaluation(
            run, loaded, cells, method=method, adapter=applied, watcher=console.Bars(as_json), on_rows=show
        )
    if as_json:
        print(json.dumps({"rows": rows, "run": str(run.folder)}))
    else:
        console.show_rows(rows)
        console.show_facts({"predictions": run.folder / "predictions.jsonl"})


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Run folder of a `seal eval`.")],
    second: Annotated[Path, typer.Argument(help="Another one, of the same task, sizes and seed.")],
    as_json: Json = False,
) -> None:
    """Pair two evaluations question by question: difference (second - first), interval, exact McNemar test."""
    from .evaluation import compare as run_comparison

    rows = run_comparison(first, second)
    if as_json:
        print(json.dumps({"rows": rows}))
    else:
        console.show_pairs(rows)


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="SEAL-H or SEAL-C adapter folder.")],
    out: Annotated[Path, typer.Option(help="New folder for the merged model.")],
    model: Annotated[
        str, typer.Option(help="The model the adapter was tuned on. [default: the one named in the adapter]")
    ] = "",
    strength: Strength = 1.0,
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
    from . import adapters
    from .export import merge as merging
    from .tasks import draw
    from .tasks.lines import Lines

    base = model or adapters.describe(adapter)["base"]["name"]
    changed = merging.merge(base, adapter, out, revision=revision, strength=strength)
    facts: dict[str, Any] = {"merged": str(out), "base": base, "tensors_changed": len(changed)}
    if verify:
        loaded = _load(base, dtype, device, "auto", revision, False)
        folded = _load(str(out), dtype, device, "auto", None, False)
        samples = draw(Lines(20, 4), "test", 1, 16)
        facts |= merging.verify(loaded, adapters.load(adapter, loaded, strength), folded, samples)
    _print(facts, as_json)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of `seal eval` and `seal tune`.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    as_json: Json = False,
) -> None:
    """Turn run folders into one self-contained HTML page: tables, curves, head maps, answers side by side."""
    from .report import build_report

    _print({"page": str(build_report(runs, out))}, as_json)


@app.command()
def show(
    model: Model = "smollm2-135m",
    task: Task = "lines",
    lines: Sizes = None,
    length: Lengths = None,
    questions: Questions = None,
    prefixed: Prefixed = False,
    index: Annotated[int, typer.Option(help="Which sample.")] = 0,
    seed: Seed = 0,
    split: Annotated[str, typer.Option(help="train or test.")] = "train",
    revision: Revision = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Print a sample as the model reads it: decoded token ids, the answer that is learnt marked."""
    from .models import load_tokenizer
    from .prompts import Encoder

    if split not in ("train", "test"):
        raise UsageError(f"unknown --split {split!r}; choose train or test")
    encoder = Encoder(load_tokenizer(model, revision=revision, trust_remote_code=trust))
    size = sizes_of(task, lines, length, questions, prefixed, encoder, default="10", most=1)[0]
    example = encoder.encode(size.sample(seed, split, index))
    decode = encoder.tokenizer.decode
    shown = [(decode([*example.prefix_ids, *q.suffix_ids]), decode(q.answer_ids)) for q in example.questions]
    facts = {"prompt_tokens": example.longest_prompt, "shared_tokens": len(example.prefix_ids),
             "answer_tokens": len(example.questions[0].answer_ids)}  # fmt: skip
    if as_json:
        print(json.dumps({**facts, "questions": [{"prompt": prompt, "answer": answer} for prompt, answer in shown]}))
        return
    for prompt, answer in shown:
        console.show_prompt(prompt, answer)
    console.show_facts(facts)


@app.command()
def plan(
    model: Model = "smollm2-135m",
    task: Task = "lines",
    lines: Sizes = None,
    length: Lengths = None,
    questions: Questions = None,
    samples: Annotated[int, typer.Option(help="Contexts.")] = 50,
    batch: Annotated[int, typer.Option(help="Questions of a context that run at a time.")] = 8,
    checkpoint: Annotated[bool, typer.Option("--checkpoint", help="As in `seal tune`.")] = False,
    dtype: Dtype = "auto",
    device: Device = "auto",
    revision: Revision = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Say before a long job what it will take: tokens, estimated peak memory and time on this machine."""
    from . import models, planning
    from .prompts import Encoder
    from .tasks import draw

    target = models.pick_device(device)
    bare = models.skeleton(model, models.local_folder(model, revision), trust_remote_code=trust)
    size = sizes_of(task, lines, length, questions, encoder=Encoder(bare.tokenizer), most=24)[0]
    facts = planning.plan(
        bare,
        draw(size, "train", 0, samples * size.questions),
        models.pick_dtype(dtype, target),
        target,
        batch=batch,
        checkpoint=checkpoint,
    )
    _print(facts, as_json)


def _load(model: str, dtype: str, device: str, attention: str, revision: str | None, trust: bool) -> Any:
    from . import models

    return models.load(
        model, dtype=dtype, device=device, attention=attention, revision=revision, trust_remote_code=trust
    )


def _cells(sizes: list[Any], seed: int, questions: int) -> list[Any]:
    from .evaluation import Cell
    from .tasks import draw

    return [Cell(draw(size, "test", seed, questions), size.score) for size in sizes]


def _cases(task: str, path: Path, prefixed: bool) -> list[Any]:
    from .evaluation import Cell
    from .tasks import find

    kind = find(task)
    samples = kind.read_cases(path, prefixed=prefixed)
    return [Cell(samples, kind(1).score)]


def _print(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts))
    else:
        console.show_facts(facts)
