# SPDX-License-Identifier: Apache-2.0
"""Numbers of queries and keys -> blocks of queries, and for each which keys are read and of which a mask tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """A block's `queries`, the `free` first keys that all of them see, and the keys of which a mask tells: `told`."""

    queries: slice
    free: int
    told: slice

    @property
    def runs(self) -> tuple[slice, ...]:
        """The keys that are read."""
        return (slice(self.told.stop),) if self.free == self.told.start else (slice(self.free), self.told)


def spans(queries: int, keys: int, size: int, causal: bool, lengths: Sequence[int] | None) -> Iterator[Span]:
    """The queries in blocks of at most `size`; of packed sequences a block holds whole ones, or a piece of one."""
    held = keys - queries
    if causal:
        for block in slices(0, queries, size):
            yield Span(block, held + block.start, slice(held + block.start, held + block.stop))
    elif lengths is None:
        for block in slices(0, queries, size):
            yield Span(block, 0, slice(0, keys))
    else:
        start = 0
        for end in _ends(lengths, size):
            for block in slices(start, end, size):
                yield Span(block, held, slice(held + start, held + block.stop))
            start = end


def _ends(lengths: Sequence[int], size: int) -> Iterator[int]:
    """Where sequences end that go into one block together: as many as it has room for, at least one."""
    start = end = 0
    for length in lengths:
        if start < end and end + length - start > size:
            yield end
            start = end
        end += length
    yield end


def slices(start: int, end: int, size: int) -> Iterator[slice]:
    for first in range(start, end, size):
        yield slice(first, min(first + size, end))
