# SPDX-License-Identifier: Apache-2.0
"""What was typed as --extend -> an extension: `ntk:4`, `dca:4`, `self-extend:32k`, `self-extend:group=6,window=1k`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..errors import UsageError
from ..models import LoadedModel
from ..tasks.sizing import parse_counts
from .dual_chunk import DualChunk
from .rope import METHODS as ROPE_METHODS
from .rope import RotaryScaling
from .self_extend import SelfExtend, suggest

if TYPE_CHECKING:
    from . import Extension

EXAMPLES = ", ".join(
    [*(f"{method}:4" for method in ROPE_METHODS), "self-extend:32k", "self-extend:group=6,window=1024", "dca:4"]
)


@dataclass(frozen=True)
class SuggestedSelfExtend:
    """Self-Extend with the group and window that suit prompts of `target` tokens on the model at hand."""

    target: int
    in_config: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """As it is typed."""
        return f"self-extend:{self.target}"

    def apply(self, model: LoadedModel) -> LoadedModel:
        """As the extension that `suggest` picks."""
        assert model.native_window is not None
        return self.settled(model.native_window).apply(model)

    def reach(self, native_window: int) -> int:
        """That of the extension that `suggest` picks: the target or somewhat more."""
        return self.settled(native_window).reach(native_window)

    def rule(self, native_window: int) -> SelfExtend:
        """That of the extension that `suggest` picks."""
        return self.settled(native_window)

    def settled(self, native_window: int) -> SelfExtend:
        """With group and window."""
        return suggest(self.target, native_window)


def parse(text: str) -> Extension:
    """The extension that `text` names. UsageError for an unknown method, and for settings that it does not have."""
    method, _, settings = text.strip().partition(":")
    if method in ROPE_METHODS:
        return RotaryScaling(method, _factor(text, settings))
    if method == "dca":
        return DualChunk(_factor(text, settings))
    if method == "self-extend":
        return _self_extend(text, settings)
    raise UsageError(f"unknown --extend {text!r}; choose one of {EXAMPLES}")


def _factor(text: str, settings: str) -> float:
    """How many times longer the window is to be."""
    try:
        factor = float(settings)
    except ValueError:
        factor = 0.0
    if not 1 < factor < 1e6:
        raise UsageError(
            f"--extend {text!r} needs a factor above 1, how many times longer the window is to be, as in {EXAMPLES}"
        )
    return factor


def _self_extend(text: str, settings: str) -> Extension:
    if spelled := re.fullmatch(r"group=(\d+),window=(\w+)", settings):
        (window,) = parse_counts("--extend", spelled[2])
        return SelfExtend(int(spelled[1]), window)
    if re.fullmatch(r"\w+", settings):
        (target,) = parse_counts("--extend", settings)
        return SuggestedSelfExtend(target)
    raise UsageError(
        f"--extend {text!r} needs the longest prompt that you have, as in self-extend:32k, or a group and a window: "
        "self-extend:group=6,window=1024"
    )
