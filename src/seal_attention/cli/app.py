# SPDX-License-Identifier: Apache-2.0
"""The command line's frame: the app that every subcommand registers with, and what they all need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from .. import console

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


def warn(sentence: str) -> None:
    """Print what may be meant so, and may be a mistake."""
    console.say(f"seal: {sentence}", "yellow")


def print_facts(facts: dict[str, Any], as_json: bool) -> None:
    """Names and values, as one JSON object or a line each."""
    if as_json:
        print(json.dumps(facts))
    else:
        console.show_facts(facts)


def load_model(
    model: str,
    dtype: str,
    device: str,
    attention: str,
    revision: str | None,
    trust: bool,
    extend: str | None = None,
    native_window: int | None = None,
) -> Any:
    """The model as the options describe it, its window held down and extended (options.window_settings)."""
    from .. import loading
    from ..extension import extended

    loaded = loading.load(
        model, dtype=dtype, device=device, attention=attention, revision=revision, trust_remote_code=trust
    )
    return extended(loaded, extend, native_window)


def load_adapter(folder: Path | None, loaded: Any, strength: float) -> Any:
    """The adapter for the loaded model, None for none; a warning where it was tuned under another window."""
    from .. import adapters

    if folder is None:
        return None
    applied = adapters.load(folder, loaded, strength)
    if elsewhere := adapters.tuned_elsewhere(folder, loaded):
        warn(elsewhere)
    return applied
