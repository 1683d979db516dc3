# SPDX-License-Identifier: Apache-2.0
"""A model -> the same model reading in chunks shorter than its window, so that no distance lies beyond it.

Dual chunk attention (An et al., 2024, arXiv 2402.17463; the code is HKUNLP/ChunkLlama): inside a chunk, and into the
end of the one before it, distances are what they are; further keys keep their place in their own chunk, and queries
stand at the last position there is. Sizes are ChunkLlama's, its YaRN-like factor on attention, which the paper does not
use, is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..errors import UsageError
from ..models import LoadedModel
from .delta_rotation import extend


@dataclass(frozen=True)
class DualChunk:
    """Reads up to `factor` times the window. How far is for the reader to say: the method itself has no end."""

    factor: float
    in_config: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """As it is typed."""
        return f"dca:{self.factor:g}"

    def apply(self, model: LoadedModel) -> LoadedModel:
        """The same model with chunks. UsageError where its attention can't have them (delta_rotation.py)."""
        if model.window is None or model.window < 8:
            raise UsageError(
                f"{model.name} has no window of at least 8 positions to take chunks from; leave --extend out"
            )
        return extend(model, self.rule(model.window), "dual chunk attention")

    def reach(self, native_window: int) -> int:
        """Factor times the native window."""
        return int(native_window * self.factor)

    def rule(self, native_window: int) -> Chunks:
        """Chunks that the native window has room for."""
        return Chunks.of(native_window)


@dataclass(frozen=True)
class Chunks:
    """Chunks of `length` positions; queries of far keys stand at `size`, and up to it keep their distance."""

    length: int
    size: int

    @classmethod
    def of(cls, window: int) -> Chunks:
        """Three quarters of the window, an eighth of it shared with the chunk before."""
        size = window * 3 // 4
        return cls(size - window // 8, size)

    def part(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """0: in the same chunk; 1: in the one before; 2: further back."""
        return (queries // self.length - keys // self.length).clamp(0, 2)

    def far_keys(self, keys: torch.Tensor) -> torch.Tensor:
        """The key's place in its chunk."""
        return keys % self.length

    def far_queries(self, queries: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Towards the chunk before: as far as it is, up to `size`; towards those further back: at `size`."""
        return (queries % self.length + self.length).clamp(max=self.size), torch.full_like(queries, self.size)
