# SPDX-License-Identifier: Apache-2.0
"""A group size and a neighbour window -> far positions in groups, so that a prompt longer than the window fits into it.

Self-Extend (Jin et al., 2024, arXiv 2401.01325; the code is datamllab/LongLM): keys nearer than `window` keep their
distance; those beyond lie in groups of `group` that share a position, and a query counts its own groups likewise,
shifted so that the two ranges meet. LongLM shifts by a fraction where the group does not divide the window, except when
it decodes with flash attention; here the shift is a whole number everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..errors import UsageError
from ..models import LoadedModel
from .delta_rotation import extend

MOST_GROUP = 64


@dataclass(frozen=True)
class SelfExtend:
    """`group` neighbouring positions count as one beyond `window` tokens. UsageError for sizes below 1."""

    group: int
    window: int
    in_config: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if min(self.group, self.window) < 1:
            raise UsageError(
                f"self-extend needs a group and a window of at least 1, not {self.group} and {self.window}; type "
                "for instance --extend self-extend:group=6,window=1024"
            )

    @property
    def name(self) -> str:
        """As it is typed."""
        return f"self-extend:group={self.group},window={self.window}"

    def apply(self, model: LoadedModel) -> LoadedModel:
        """The same model with grouped positions. UsageError where its attention can't have them (delta_rotation.py), or
        where the neighbour window takes all of its own."""
        if model.window is not None and self.window >= model.window:
            raise UsageError(
                f"self-extend's neighbour window of {self.window:,} leaves nothing of the {model.window:,} positions "
                f"of {model.name} for groups; give a smaller one, such as {model.window // 4:,}"
            )
        return extend(model, self, "self-extend")

    def reach(self, native_window: int) -> int:
        """The longest prompt all of whose distances a model of that window has seen."""
        return (native_window - self._shift) * self.group

    def rule(self, native_window: int) -> SelfExtend:
        """Itself, whatever the window."""
        return self

    @property
    def _shift(self) -> int:
        return self.window - self.window // self.group

    def part(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """0: near; 1: grouped."""
        return (queries - keys >= self.window).long()

    def far_keys(self, keys: torch.Tensor) -> torch.Tensor:
        """The number of the key's group."""
        return keys // self.group

    def far_queries(self, queries: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The number of the query's group, shifted so that the first grouped key is as far as the window is wide."""
        return (queries // self.group + self._shift,)


def suggest(target_length: int, native_window: int) -> SelfExtend:
    """Group and window for prompts of `target_length` tokens: a quarter of the native window, then the smallest group.

    The authors' rule (LongLM's README): no distance is put beyond two thirds of the native window, since a model has
    seen few longer ones. UsageError where the target fits without, and where groups would have to be larger than 64,
    the most that they call reasonable.
    """
    if target_length <= native_window:
        raise UsageError(
            f"{target_length:,} tokens fit into the native window of {native_window:,}; leave --extend out, or give a "
            "larger target"
        )
    window = native_window // 4
    trained = native_window * 2 // 3
    group = -(-(target_length - window) // max(1, trained - window))
    if not window or group > MOST_GROUP:
        most = window + MOST_GROUP * (trained - window)
        raise UsageError(
            f"self-extend can't take a window of {native_window:,} to {target_length:,} tokens: groups of {group:,} "
            f"would be needed, and beyond {MOST_GROUP} positions say nothing; the most is {most:,}"
        )
    return SelfExtend(group, window)
