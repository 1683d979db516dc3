# SPDX-License-Identifier: Apache-2.0
"""What was typed as --extend -> an extension: `ntk:4`, `self-extend:group=6,window=1024`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UsageError
from .rope import METHODS as ROPE_METHODS
from .rope import RotaryScaling

if TYPE_CHECKING:
    from . import Extension

EXAMPLES = ", ".join(f"{method}:4" for method in ROPE_METHODS)


def parse(text: str) -> Extension:
    """The extension that `text` names. UsageError for an unknown method, and for settings that it does not have."""
    method, _, settings = text.strip().partition(":")
    if method in ROPE_METHODS:
        return RotaryScaling(method, _factor(text, settings))
    raise UsageError(f"unknown --extend {text!r}; choose one of {EXAMPLES}")


def _factor(text: str, settings: str) -> float:
    """How many times longer the window is to be."""
    try:
        factor = float(settings)
    except ValueError:
        factor = 0.0
    if not 1 < factor < 1e6:
        raise UsageError(
            f"--extend {text!r} needs a factor above 1, how many times longer the window is to be: as in 4"
        )
    return factor
