# SPDX-License-Identifier: Apache-2.0
"""A model and what was typed as --extend and --window -> the model with a longer window, nothing of it trained.

An extension is a small frozen dataclass. It reconfigures the model that it is given and gives it back: no class is
patched, and another model of the same family stays as it is.
"""

from __future__ import annotations

from typing import Protocol

import torch

from ..errors import UsageError
from ..models import LoadedModel
from .parsing import parse
from .pieces import Rule


class Extension(Protocol):
    """One way to a longer window."""

    @property
    def name(self) -> str:
        """What it is called with its settings, as `parse` reads it."""

    @property
    def in_config(self) -> bool:
        """Whether a model's config.json can say it, so that a merged model keeps it."""

    def apply(self, model: LoadedModel) -> LoadedModel:
        """The same model, reconfigured. UsageError where it can't be."""

    def reach(self, native_window: int) -> int:
        """The window that it gives, in tokens."""

    def rule(self, native_window: int) -> Rule | None:
        """Where it puts far keys; None where all keys stay and only their frequencies change."""


def extended(model: LoadedModel, extend: str | None = None, native_window: int | None = None) -> LoadedModel:
    """The model, its window held down to `native_window` tokens and then extended as `extend` says; None leaves it so.

    The model's `native_window` is then what the extension scales from, its `window` what the extension reaches.
    UsageError where `native_window` is more than the model's own, or where the extension does not fit the model.
    """
    if native_window is not None:
        if model.native_window is not None and native_window > model.native_window:
            raise UsageError(
                f"--window holds a model's window down, and {native_window:,} is more than the {model.native_window:,} "
                f"of {model.name}; to go beyond it type --extend, as in --extend ntk:4"
            )
        model.hold_to(native_window)
    if extend is None:
        return model
    extension = parse(extend)
    if model.native_window is None:
        raise UsageError(
            f"{model.name} does not say how long its window is, so there is nothing to extend; state it with --window"
        )
    native, reach = model.native_window, extension.reach(model.native_window)
    if reach <= native:
        raise UsageError(
            f"--extend {extension.name} reaches {reach:,} tokens, no more than the {native:,} of {model.name} by "
            "itself; ask for more, or leave it out"
        )
    if extension.in_config or model.device.type != "meta":  # without weights a model has nothing but its configuration
        model = extension.apply(model)
    model.native_window, model.window, model.extension = native, reach, extension.name
    return model


def far_queries(model: LoadedModel, length: int) -> int:
    """How often each layer turns its queries anew for far keys in a prompt of so many tokens; 0 while all are near."""
    if model.extension is None or model.native_window is None:
        return 0
    rule = parse(model.extension).rule(model.native_window)
    first, last = torch.zeros(1, 1, dtype=torch.long), torch.full((1, 1), length - 1)
    return len(rule.far_queries(last)) if rule and rule.part(last, first).any() else 0
