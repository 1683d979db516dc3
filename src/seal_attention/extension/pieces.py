# SPDX-License-Identifier: Apache-2.0
"""Positions of queries and keys, and a rule -> blocks of queries, and for each the runs of keys it reads, and how.

A method that extends the window splits the pairs of queries and keys into parts: in part 0, the near one, their
distance is what it is; in every other it is taken from positions that fit the window. For a block of queries the keys
of a part stand in one run of slots, of which only the ends need a look at each pair.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Protocol

import torch

from ..streamed_blocks import Read, ReadingBlock


class Rule(Protocol):
    """Where a method puts queries and keys of the far parts; positions are tensors of whole numbers."""

    def part(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """The part of each pair, by broadcasting. For a key it never falls as the query moves on."""
        ...

    def far_keys(self, keys: torch.Tensor) -> torch.Tensor:
        """The positions of keys in all far parts."""
        ...

    def far_queries(self, queries: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The positions of queries in far part 1, 2, ..."""
        ...


@dataclass(frozen=True)
class Piece:
    """Slots `run` of the keys, read by a block as `part`; outside `unclear` every query reads every key of it."""

    part: int
    run: slice
    unclear: slice


@dataclass(frozen=True)
class Block:
    """Some queries, next to each other, and the pieces they read."""

    queries: slice
    pieces: tuple[Piece, ...]

    @property
    def width(self) -> int:
        """Columns of its scores: the slots of its pieces, one piece after the other."""
        return sum(piece.run.stop - piece.run.start for piece in self.pieces)


@dataclass(frozen=True)
class Layout:
    """Positions (rows or 1, queries) and (rows or 1, slots); the last queries' keys stand in the last slots.

    `causal`: nothing but the order of the slots says which keys a query sees. Otherwise a mask does, and it shows no
    key whose position comes after the query's.
    """

    rule: Rule
    queries: torch.Tensor
    keys: torch.Tensor
    causal: bool
    _planned: dict[int, tuple[Block, ...]] = field(default_factory=dict, repr=False)
    _read: dict[tuple[int, torch.dtype], tuple[torch.Tensor | None, tuple[ReadingBlock, ...]]] = field(
        default_factory=dict, repr=False
    )

    @property
    def near(self) -> bool:
        """Whether every pair is of part 0."""
        return not self.rule.part(self.queries.amax(1), self.keys.amin(1)).any()

    def blocks(self, rows: int) -> tuple[Block, ...]:
        """Blocks of at most `rows` queries, covering all; planned once for all layers."""
        if rows not in self._planned:
            length = self.queries.shape[1]
            spans = (slice(start, min(start + rows, length)) for start in range(0, length, rows))
            self._planned[rows] = tuple(self._block(span) for span in spans)
        return self._planned[rows]

    def _block(self, queries: slice) -> Block:
        positions = self.queries[:, queries]
        earliest, latest = positions.min(), positions.max()
        lowest, highest = self.rule.part(earliest, self.keys), self.rule.part(latest, self.keys)
        seen_by_some, seen_by_all = self.keys <= latest, torch.ones_like(self.keys, dtype=torch.bool)
        if self.causal:
            slots = torch.arange(self.keys.shape[1], device=self.keys.device)
            seen_by_some, seen_by_all = slots <= self._slot(queries.stop - 1), slots <= self._slot(queries.start)
        pieces = []
        for part in range(int(highest.max()) + 1):
            run = _run((lowest <= part) & (part <= highest) & seen_by_some)
            if run.stop:
                clear = (lowest == part) & (part == highest) & seen_by_all
                unclear = _run(~clear[:, run])
                pieces.append(Piece(part, run, slice(run.start + unclear.start, run.start + unclear.stop)))
        return Block(queries, tuple(pieces))

    def seen(self, queries: slice, piece: Piece) -> torch.Tensor:
        """Which pairs are of the piece's part, in its unclear slots: (rows or 1, 1, queries, slots)."""
        at, keys = self.queries[:, queries, None], self.keys[:, None, piece.unclear]
        seen = self.rule.part(at, keys) == piece.part
        if self.causal:
            places = torch.arange(queries.start, queries.stop, device=at.device)
            slots = torch.arange(piece.unclear.start, piece.unclear.stop, device=at.device)
            seen = seen & (slots <= self._slot(places[:, None]))
        return seen[:, None]

    def readings(self, rows: int, mask: torch.Tensor | None, dtype: torch.dtype) -> tuple[ReadingBlock, ...]:
        """What `blocks(rows)` read, for keys of that type; `mask`, if any: (batch or 1, 1, queries, slots), True: seen.

        Made once for all layers that are given the same mask: each layer's graph keeps it (2 GB of all at 16k, were
        it made for each).
        """
        given, readings = self._read.get((rows, dtype), (None, ()))
        if not readings or given is not mask:
            readings = tuple(self._reading(block, mask, dtype) for block in self.blocks(rows))
            self._read[rows, dtype] = mask, readings
        return readings

    def _reading(self, block: Block, mask: torch.Tensor | None, dtype: torch.dtype) -> ReadingBlock:
        """What the block reads of each piece: the unclear slots apart from those that all read."""
        reads = []
        for piece in block.pieces:
            ends = piece.run.start, piece.unclear.start, piece.unclear.stop, piece.run.stop
            for slots, told in zip(
                itertools.starmap(slice, itertools.pairwise(ends)), (False, True, False), strict=True
            ):
                if slots.start < slots.stop:
                    seen = self.seen(block.queries, piece)[:, 0] if told else None
                    if mask is not None:
                        shown = mask[:, 0, block.queries, slots]
                        seen = shown if seen is None else shown & seen
                    reads.append(Read.of(piece.part, slots, seen, dtype))
        return ReadingBlock(block.queries, tuple(reads))

    def _slot(self, query: torch.Tensor | int) -> torch.Tensor | int:
        """Where the query's own key stands."""
        return self.keys.shape[1] - self.queries.shape[1] + query


def _run(chosen: torch.Tensor) -> slice:
    """From the first to the last slot that any row (rows, slots) chooses; empty, at 0, where none does."""
    places = chosen.any(0).nonzero()
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
