# SPDX-License-Identifier: Apache-2.0
"""A model -> its attention layers and the heads of each, as figures of heads are laid out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..models import LoadedModel


@dataclass(frozen=True)
class HeadShape:
    """The numbers of the layers that have attention, from the first up, and how many query heads each has."""

    layers: tuple[int, ...]
    heads: tuple[int, ...]

    @classmethod
    def of(cls, model: LoadedModel) -> HeadShape:
        """The shape of a model."""
        return cls(tuple(p.layer for p in model.projections), tuple(p.heads for p in model.projections))

    @property
    def every(self) -> list[tuple[int, int]]:
        """Every (layer, head), from the first layer up."""
        return [(layer, head) for layer, count in zip(self.layers, self.heads, strict=True) for head in range(count)]

    def rows(self, figures: Mapping[tuple[int, int], float | None]) -> list[list[float | None]]:
        """Figures of (layer, head) -> layers of heads, None where a head has none."""
        pairs = zip(self.layers, self.heads, strict=True)
        return [[figures.get((layer, head)) for head in range(count)] for layer, count in pairs]
