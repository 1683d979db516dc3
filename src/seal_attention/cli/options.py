# SPDX-License-Identifier: Apache-2.0
"""The options that several subcommands share -> their types, explanations and meaning."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import UsageError
from ..tasks.sizing import parse_counts

Model = Annotated[str, typer.Argument(help="Hub id, model folder, .gguf file, or the embedded smollm2-135m.")]
Dtype = Annotated[str, typer.Option(help="auto (bfloat16 where the processor has it), float32, bfloat16, float16.")]
Device = Annotated[str, typer.Option(help="auto (the first GPU if there is one), cpu, cuda, cuda:1, ...")]
Attention = Annotated[str, typer.Option(help="auto, sdpa, eager, flash_attention_2, ... as transformers names them.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub model.")]
Trust = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python code that comes with the model. Only for models you trust."),
]
Task = Annotated[str, typer.Option("--task", "--tasks", help="Task, or several with commas; `seal tasks` lists them.")]
Sizes = Annotated[str | None, typer.Option("--lines", help="Size in lines; several with commas: 20,40,80.")]
Lengths = Annotated[
    str | None,
    typer.Option("--length", "--lengths", help="Size in tokens instead, prompt and answer together: 4k, or 1k,2k,4k."),
]
Depths = Annotated[
    str | None, typer.Option(help="Where the fact stands, in percent of the context, for tasks with depth: 0,50,100.")
]
Haystack = Annotated[
    str | None,
    typer.Option(help="Folder of .txt files to hide the facts in, by name. [default: built-in]"),
]
Data = Annotated[
    str | None,
    typer.Option(help="File or folder of a task with data of its own (topics, needle, qa_1, qa_2, LongBench)."),
]
Questions = Annotated[
    int | None,
    typer.Option(
        help="Questions asked of each context; more cost little and teach more. [default: what `seal tasks` shows]"
    ),
]
Readings = Annotated[
    int, typer.Option(help="Times each context is read, each time for another share of its questions.")
]
Spread = Annotated[
    str | None,
    typer.Option(
        help="Spread the positions of half of the contexts over up to so many (4k), so that scales tuned on short "
        "contexts hold on long ones; an addition to the paper's method."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the generated text.")]
Strength = Annotated[
    float, typer.Option(help="Dial: effective scale = 1 + strength x (scale - 1); 0 is the base, 1 the tuned model.")
]
Prefixed = Annotated[
    bool, typer.Option("--prefixed", help="Give the answer's first words, so that only the fact itself is asked.")
]
Extend = Annotated[
    str | None,
    typer.Option(
        help="Give the model a longer window without training it: linear:4, ntk:4, dynamic-ntk:4, yarn:4, "
        "self-extend:32k, dca:4, or plain:4, which runs it past its window as it is (docs/extension.md)."
    ),
]
Window = Annotated[
    str | None,
    typer.Option("--window", help="Hold the model's own window down to so many tokens, as in 2k."),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object for machines, and nothing else, on standard output.")
]
Out = Annotated[
    Path | None,
    typer.Option(help="Run folder; by default one under runs/ named after the settings. Rerun to resume."),
]


def window_settings(extend: str | None, window: str | None) -> dict[str, Any]:
    """--extend and --window as a run's settings hold them and `load_model` takes them: only what was given.

    A run from before there were such options is so resumed as ever. UsageError for an unknown extension or no number.
    """
    found: dict[str, Any] = {}
    if extend is not None:
        from ..extension import parse

        found["extend"] = parse(extend).name
    if window is not None:
        found["native_window"] = one_count("--window", window)
    return found


def one_count(option: str, typed: str | None) -> int | None:
    """`2k` -> 2048. UsageError for several."""
    counts = [None] if typed is None else parse_counts(option, typed)
    if len(counts) > 1:
        raise UsageError(f"{option} takes one number such as 2k, not {typed!r}")
    return counts[0]


def default_folder(command: str, method: str, settings: dict[str, Any]) -> Path:
    """runs/COMMAND-METHOD-DIGEST: the same settings name the same folder, so that a rerun resumes."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return Path("runs") / f"{command}-{method}-{digest}"
