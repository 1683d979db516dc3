# SPDX-License-Identifier: Apache-2.0
"""Rows that each follow a prefix (prefix_rows.py) and a rule for far keys -> what each row reads of them, and how.

A step of decoding reads thousands of keys for each token it writes, so the far keys of a prefix are turned on once, at
the first step, and kept beside the near ones.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ..blockwise import hide, product
from ..row_keys import NearKeys
from .pieces import Layout, Piece, Rule
from .turning import Angles, Rotation

if TYPE_CHECKING:
    from ..prefix_rows import PrefixRows, RowsLayer


class FarRows:
    """Where the rows of one step and the keys they read stand, and what follows from it for all layers."""

    def __init__(self, rule: Rule, rotation: Rotation, rows: PrefixRows) -> None:
        self.rule, self.rotation, self.rows = rule, rotation, rows
        queries = rows.positions[None].split(list(map(len, rows.groups)), 1)
        asked = zip(queries, rows.standing, strict=True)
        self.layouts = [Layout(rule, own, keys, causal=False) for own, keys in asked]

    @functools.cached_property
    def near(self) -> bool:
        """Whether everything is near, so that attention is the model's own."""
        return self.own_parts is None and all(layout.near for layout in self.layouts)

    @functools.cached_property
    def pieces(self) -> list[list[tuple[Piece, torch.Tensor]]]:
        """For each prefix, the runs of its keys that its rows read as one part, and who reads the unclear ones."""
        return [
            [(piece, layout.seen(block.queries, piece)) for piece in block.pieces]
            for layout in self.layouts
            for block in layout.blocks(layout.queries.shape[1])
        ]

    @functools.cached_property
    def own_positions(self) -> torch.Tensor:
        """Where the row's own tokens stand, (rows, slots filled by any row, the newest token's among them)."""
        counts = self.rows.counts[:, None]
        return self.rows.positions[:, None] - counts + torch.arange(int(counts.max()) + 1)

    @functools.cached_property
    def own_parts(self) -> torch.Tensor | None:
        """The part in which a row reads each of its own tokens, (rows, slots); None where all are near."""
        parts = self.rule.part(self.rows.positions[:, None], self.own_positions)
        return parts if parts.any() else None

    @functools.cached_property
    def query_angles(self) -> list[Angles]:
        """By which queries are turned on for each far part."""
        queries = self.rows.positions[None]
        return [self.rotation.angles(far - queries) for far in self.rule.far_queries(queries)]

    @functools.cached_property
    def prefix_angles(self) -> list[Angles]:
        """By which the keys of each prefix are turned on."""
        return [self._key_angles(positions) for positions in self.rows.standing]

    @functools.cached_property
    def own_angles(self) -> Angles:
        """By which the rows' own keys are turned on."""
        return self._key_angles(self.own_positions)

    def _key_angles(self, positions: torch.Tensor) -> Angles:
        return self.rotation.angles(self.rule.far_keys(positions) - positions)

    def keys(self, layer: RowsLayer, query: torch.Tensor, scale: float) -> FarKeys:
        """What `PrefixRows.attend` reads a layer's keys by."""
        return FarKeys(self, layer, query, scale)


class FarKeys(NearKeys):
    """A layer's keys as the rows' queries (1, heads, rows, size) see them, each in the part where it stands."""

    def __init__(self, placed: FarRows, layer: RowsLayer, query: torch.Tensor, scale: float) -> None:
        super().__init__(layer, query, scale)
        self.placed = placed
        turned = [placed.rotation.turned(query, angles) for angles in placed.query_angles]
        self.queries = [self.query, *(self.by_head(far, scale) for far in turned)]
        if not layer.far_keys:
            layer.far_keys = [
                self._turned(keys[None], angles)[0].contiguous()
                for (keys, _), angles in zip(layer.prefixes, placed.prefix_angles, strict=True)
            ]

    def own(self) -> torch.Tensor:
        """Scores of the rows' own keys, (rows, key_value_heads, heads of a group, slots)."""
        scores, parts = super().own(), self.placed.own_parts
        if parts is not None:
            filled = parts.shape[1]
            far_keys = self._turned(self.layer.own_keys[..., :filled], self.placed.own_angles)
            for part, query in enumerate(self.queries[1:], start=1):
                far = self.against(query, far_keys)
                scores[..., :filled] = torch.where((parts == part)[:, None, None], far, scores[..., :filled])
        return scores

    def prefix(self, index: int, rows: slice) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Runs of a prefix's keys: scores (key_value_heads, heads of a group * rows, slots of the run), and values."""
        near, values = self.layer.prefixes[index]
        for piece, seen in self.placed.pieces[index]:
            keys = self.layer.far_keys[index] if piece.part else near
            scores = product(self.queries[piece.part][:, :, rows].flatten(1, 2), keys[..., piece.run])
            start, stop = (end - piece.run.start for end in (piece.unclear.start, piece.unclear.stop))
            hide(scores[..., start:stop], seen, 1, len(keys))
            yield scores, values[:, piece.run]

    def _turned(self, keys: torch.Tensor, angles: Angles) -> torch.Tensor:
        """(rows, key_value_heads, size, slots) turned on."""
        return self.placed.rotation.turned(keys.transpose(2, 3), angles).transpose(2, 3)
