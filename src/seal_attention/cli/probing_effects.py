# SPDX-License-Identifier: Apache-2.0
"""`seal probe` direct, retrieval and attention: what heads write, copy and look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..errors import UsageError
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
from .probing import Asked, AtWork, Subject, chosen, examples_of, open_probe, print_findings, probe, say

Compared = Annotated[
    Path | None, typer.Option("--adapter", help="Adapter folder; the base is compared with it. [default: base alone]")
]


@probe.command()
def direct(
    model: Model = "smollm2-135m",
    adapter: Compared = None,
    strength: Strength = 1.0,
    norm: Annotated[
        str,
        typer.Option(help="frozen: effects add up to the model's logit; none: without the final norm, as the paper."),
    ] = "frozen",
    tokens: Annotated[
        str | None,
        typer.Option(
            help="Tokens to take the logits of, with commas (0,1,2), at the end of the prompt. [default: the right one "
            "and the base's wrong one, where it first goes wrong]"
        ),
    ] = None,
    task: Task = "lines",
    lines: Sizes = None,
    length: Lengths = None,
    depths: Depths = None,
    haystack: Haystack = None,
    data: Data = None,
    questions: Questions = None,
    prefixed: Annotated[
        bool, typer.Option("--prefixed/--free", help="Give the answer's first words, so that the fact comes next.")
    ] = True,
    n: Asked = 16,
    seed: Seed = 0,
    out: Out = None,
    dtype: Annotated[
        str, typer.Option(help="float32 (small effects drown in 16 bits), auto, bfloat16, ...")
    ] = "float32",
    device: Device = "auto",
    attention: Attention = "auto",
    revision: Revision = None,
    trust: Trust = False,
    extend: Extend = None,
    window: Window = None,
    as_json: Json = False,
) -> None:
    """What each head and MLP adds to the right and the wrong token's logit, before and after tuning (section 5).

    Of the questions asked those count that the base gets wrong and the adapter right.
    """
    selection = Selection(task, lines, length, depths, questions, prefixed, haystack, data)
    wider = window_settings(extend, window)
    subject = Subject(model, adapter, strength, dtype, device, attention, revision, trust, wider)
    run = open_probe("direct", subject, {"norm": norm, "tokens": tokens, **chosen(selection, seed, n)}, out)
    if run.results is None:
        from ..probing import direct_effect, direct_probe

        direct_effect.require_norm(norm)
        loaded, tuned = subject.load()
        ids = direct_probe.token_ids(loaded, tokens.split(",")) if tokens is not None else None
        examples = examples_of(loaded, selection, seed, n)
        direct_probe.measure(run, loaded, examples, norm=norm, tokens=ids, adapter=tuned, watcher=console.Bars(as_json))
    results = run.results or {}
    facts = {"questions that served": f"{results['used']} of {results['questions']}"}
    for sums in results["sums"]:
        parts = ", ".join(f"{name} {sums[name]:+.2f}" for name in ("embedding", "heads", "mlps"))
        facts[f"{sums['token']}, {sums['phase']}"] = f"logit {sums['logit']:.2f}: {parts}"
    print_findings(run, facts, as_json)


@probe.command()
def retrieval(
    model: Model = "smollm2-135m",
    adapter: AtWork = None,
    strength: Strength = 1.0,
    task: Task = "needle",
    lines: Sizes = None,
    length: Lengths = None,
    depths: Depths = None,
    haystack: Haystack = None,
    data: Data = None,
    questions: Questions = None,
    prefixed: Prefixed = False,
    n: Asked = 20,
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
    """How much of the answer each head copies out of the context: the retrieval-head score of Wu et al. (2024).

    Answers are written a token at a time; those that are right by more than half count.
    """
    selection = Selection(task, lines, length, depths, questions, prefixed, haystack, data)
    wider = window_settings(extend, window)
    subject = Subject(model, adapter, strength, dtype, device, attention, revision, trust, wider)
    run = open_probe("retrieval", subject, chosen(selection, seed, n), out)
    if run.results is None:
        from ..probing import retrieval_heads

        loaded, tuned = subject.load()
        examples = examples_of(loaded, selection, seed, n)
        asked = sum(len(example.questions) for example in examples)
        most = sum(len(example.questions) * example.sample.max_new_tokens for example in examples)
        say(f"{asked} questions, at most {most:,} tokens to write, one at a time", as_json)
        scorers = {task.name: task.scores for task in selection.found()}
        retrieval_heads.measure(run, loaded, examples, scorers, adapter=tuned, watcher=console.Bars(as_json))
    results = run.results or {}
    foremost = ", ".join(f"{one['layer']}:{one['head']} {one['score']:.2f}" for one in results["top"][:5])
    facts = {
        "answers that count": f"{results['accepted']} of {results['asked']}",
        "retrieval heads": f"{results['retrieval_heads']} of {results['heads']} score {results['threshold']} or more",
        "foremost": foremost or "none",
    }
    print_findings(run, facts, as_json)


@probe.command("attention")
def attention_to_needle(
    model: Model = "smollm2-135m",
    adapter: Compared = None,
    strength: Strength = 1.0,
    heads: Annotated[
        str | None, typer.Option(help="Heads to watch, layer:head with commas (12:3,14:0). [default: all]")
    ] = None,
    ranked: Annotated[
        Path | None,
        typer.Option("--from", help="Run of `seal probe retrieval`, heads or fast whose top heads to watch."),
    ] = None,
    top: Annotated[int, typer.Option(help="With --from: how many heads.")] = 8,
    task: Task = "lines",
    lines: Sizes = None,
    length: Lengths = None,
    depths: Depths = None,
    haystack: Haystack = None,
    data: Data = None,
    questions: Questions = None,
    prefixed: Annotated[
        bool, typer.Option("--prefixed/--free", help="Give the answer's first words, so that the fact comes next.")
    ] = True,
    n: Asked = 16,
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
    """Where heads look from the end of the prompt: at the needle, the question, the first token or elsewhere."""
    watched = _heads(heads, ranked, top)
    selection = Selection(task, lines, length, depths, questions, prefixed, haystack, data)
    wider = window_settings(extend, window)
    subject = Subject(model, adapter, strength, dtype, device, attention, revision, trust, wider)
    run = open_probe("attention", subject, {"heads": watched, **chosen(selection, seed, n)}, out)
    if run.results is None:
        from ..probing import needle_attention

        loaded, tuned = subject.load()
        examples = examples_of(loaded, selection, seed, n)
        needle_attention.measure(run, loaded, examples, heads=watched, adapter=tuned, watcher=console.Bars(as_json))
    results = run.results or {}
    facts: dict[str, Any] = {"questions": results["questions"]}
    for phase, bars in zip(results["phases"], results["bars"], strict=True):
        needle = bars["series"][0]["values"]
        pairs = list(zip(bars["labels"], needle, strict=True))[:5]
        facts[f"to the needle, {phase}"] = ", ".join(f"{head} {share:.2f}" for head, share in pairs)
    print_findings(run, facts, as_json)


def _heads(typed: str | None, ranked: Path | None, top: int) -> list[tuple[int, int]] | None:
    """The heads as typed, or the foremost of a run; None for all."""
    from ..probing.head_maps import parse_heads, read_maps, top_heads

    if typed and ranked:
        raise UsageError(f"--heads {typed} and --from {ranked} both choose heads; give one of them")
    if ranked is not None:
        if top < 1:
            raise UsageError(f"--top takes a number of heads from 1, not {top}")
        return top_heads(read_maps(ranked), top)
    return parse_heads(typed) if typed else None
