# SPDX-License-Identifier: Apache-2.0
"""Queries of rows that each follow a prefix (prefix_rows.py), and a layer's keys -> scores within the window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from .prefix_rows import RowsLayer


class NearKeys:
    """A layer's keys as the rows' queries (1, heads, rows, size) see them within the window: as they are."""

    def __init__(self, layer: RowsLayer, query: torch.Tensor, scale: float) -> None:
        self.layer = layer
        self.query = self.by_head(query, scale)

    def by_head(self, query: torch.Tensor, scale: float) -> torch.Tensor:
        """Scaled, (key_value_heads, heads of a group, rows, size)."""
        return (query[0] * scale).unflatten(0, (self.layer.own_keys.shape[1], -1))

    def own(self) -> torch.Tensor:
        """Scores of the rows' own keys, (rows, key_value_heads, heads of a group, slots)."""
        return self.against(self.query, self.layer.own_keys)

    @staticmethod
    def against(query: torch.Tensor, own_keys: torch.Tensor) -> torch.Tensor:
        """Each row's queries against the keys (rows, key_value_heads, size, slots) of that row."""
        by_row = query.permute(2, 0, 1, 3).flatten(0, 1)
        return torch.bmm(by_row, own_keys.flatten(0, 1)).unflatten(0, own_keys.shape[:2])

    def prefix(self, index: int, rows: slice) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Runs of a prefix's keys: scores (key_value_heads, heads of a group * rows, slots of the run), and values."""
        keys, values = self.layer.prefixes[index]
        yield torch.bmm(self.query[:, :, rows].flatten(1, 2), keys), values
