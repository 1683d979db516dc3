# SPDX-License-Identifier: Apache-2.0
"""Which keys each block of queries reads, and how -> attention outputs, by streamed.py; exact gradients.

A block's queries of one key-value head, those of all query heads that read it, stand in one matrix. Where a method
reads keys in several ways (extension/), queries and keys are given for each of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .block_spans import spans
from .blockwise import BLOCK_QUERIES, causal_mask
from .streamed import Gradients, Stretch, send_back, stream, streams

STREAMED_KEYS = 8192  # from so many on: of fewer, a block of scores stays in the cache anyway
STREAMED_ROWS = 384  # of a block at least: fewer, and more is read than computed


@dataclass(frozen=True)
class Read:
    """Keys of consecutive `slots`, read in way `part`; of them are `seen` all (None), or those that are not 0 in
    (batch or 1, slots, queries), of the keys' type.
    """

    part: int
    slots: slice
    seen: torch.Tensor | None

    @classmethod
    def of(cls, part: int, slots: slice, seen: torch.Tensor | None, dtype: torch.dtype) -> Read:
        """`seen` (batch or 1, queries, slots), True where seen."""
        return cls(part, slots, None if seen is None or seen.all() else seen.transpose(1, 2).to(dtype).contiguous())


@dataclass(frozen=True)
class ReadingBlock:
    """Consecutive `queries` and what they read."""

    queries: slice
    reads: tuple[Read, ...]


def worth_streaming(query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None) -> bool:
    """Whether (batch, heads, time, size) each are faster read so, and can be: bfloat16 on a CPU, and no mask but one
    for all heads that says yes or no.
    """
    plain = mask is None or (mask.dtype == torch.bool and mask.shape[1] == 1)
    return plain and query.shape[2] >= BLOCK_QUERIES and key.shape[2] >= STREAMED_KEYS and streams(query)


def block_queries(query: torch.Tensor, key: torch.Tensor) -> int:
    """Queries of a block, so that it has STREAMED_ROWS."""
    return max(BLOCK_QUERIES, STREAMED_ROWS * key.shape[1] // query.shape[1])


def reading_blocks(
    query: torch.Tensor, key: torch.Tensor, mask: torch.Tensor | None, lengths: Sequence[int] | None
) -> list[ReadingBlock]:
    """Blocks of queries that read keys as they are: what `blockwise.BlockwiseAttention` would read for its own."""
    blocks = []
    for span in spans(query.shape[2], key.shape[2], block_queries(query, key), mask is None, lengths):
        if mask is None:
            own = span.told.stop - span.told.start
            seen = causal_mask(own, own, key.device)[0]
        else:
            seen = mask[:, 0, span.queries, span.told]
        runs = ((slice(span.free), None), (span.told, seen))
        blocks.append(
            ReadingBlock(span.queries, tuple(Read.of(0, slots, seen, key.dtype) for slots, seen in runs if slots.stop))
        )
    return blocks


class StreamedAttention(torch.autograd.Function):
    """softmax(scale * query @ key^T) @ value over what each block reads.

    `blocks` cover all queries. Of `tensors` the first `ways` are keys (batch, key_value_heads, slots, size), the last
    of them for all further parts, and the others queries (batch, heads, queries, size), one a part.
    """

    @staticmethod
    def forward(
        context: Any,
        blocks: Sequence[ReadingBlock],
        scale: float,
        value: torch.Tensor,
        ways: int,
        *tensors: torch.Tensor,
    ) -> torch.Tensor:
        """(batch, heads, queries, value_size)."""
        places = _Places(blocks, scale, value, tensors[:ways], tensors[ways:])
        batch, heads, length, _ = tensors[ways].shape
        output = value.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)  # as the caller will read it
        log_sums = torch.empty(batch, heads, length)
        for place in places:
            mixed, sums = stream([stretch for _, stretch in places.stretches(*place)])
            for whole, own in ((output, mixed), (log_sums, sums)):
                places.rows(whole, *place).copy_(own.unflatten(0, (places.group, -1)))
        context.save_for_backward(output, log_sums, value, *tensors)
        context.blocks, context.scale, context.ways = blocks, scale, ways
        return output

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of value, keys and queries; those of values and keys are summed over blocks in float32."""
        output, log_sums, value, *tensors = context.saved_tensors
        places = _Places(context.blocks, context.scale, value, tensors[: context.ways], tensors[context.ways :])
        value_gradient, *key_gradients = (torch.zeros(tensor.shape) for tensor in (value, *places.keys))
        query_gradients = [torch.zeros_like(query) for query in places.queries]
        for block, item, head in places:
            stretches = []
            turned: dict[int, torch.Tensor] = {}  # of each part, (size, rows)
            for read, stretch in places.stretches(block, item, head):
                if read.part not in turned:
                    turned[read.part] = torch.zeros(stretch.queries.t().shape)
                keys = key_gradients[places.way(read.part)][item, head, read.slots]
                sinks = Gradients(turned[read.part], keys, value_gradient[item, head, read.slots])
                stretches.append((stretch, sinks))
            known = (places.rows(tensor, block, item, head).flatten(0, 1) for tensor in (gradient, output, log_sums))
            send_back(stretches, *known)
            for part, own in turned.items():
                rows = places.rows(query_gradients[part], block, item, head)
                rows.copy_(own.mul_(context.scale).t().unflatten(0, (places.group, -1)))
        wide = zip((value_gradient, *key_gradients), (value, *places.keys), strict=True)
        value_gradient, *key_gradients = (total.to(tensor.dtype) for total, tensor in wide)
        return None, None, value_gradient, None, *key_gradients, *query_gradients


class _Places:
    """Every block of every item of the batch and every key-value head, `group` query heads of which read it."""

    def __init__(
        self,
        blocks: Sequence[ReadingBlock],
        scale: float,
        value: torch.Tensor,
        keys: Sequence[torch.Tensor],
        queries: Sequence[torch.Tensor],
    ) -> None:
        self.blocks, self.scale, self.value, self.keys, self.queries = blocks, scale, value, keys, queries
        self.group = queries[0].shape[1] // value.shape[1]

    def __iter__(self) -> Iterator[tuple[ReadingBlock, int, int]]:
        items, heads = map(range, self.value.shape[:2])
        return itertools.product(self.blocks, items, heads)

    def rows(self, tensor: torch.Tensor, block: ReadingBlock, item: int, head: int) -> torch.Tensor:
        """Of a tensor (batch, heads, queries, ...) the place's own: (group, queries of the block, ...)."""
        return tensor[item, head * self.group : (head + 1) * self.group, block.queries]

    def way(self, part: int) -> int:
        """Which of the keys a part reads."""
        return min(part, len(self.keys) - 1)

    def stretches(self, block: ReadingBlock, item: int, head: int) -> Iterator[tuple[Read, Stretch]]:
        """What the place reads."""
        parts = {read.part for read in block.reads}
        rows = {part: self.rows(self.queries[part], block, item, head).flatten(0, 1) * self.scale for part in parts}
        for read in block.reads:
            keys = self.keys[self.way(read.part)][item, head, read.slots]
            seen = None if read.seen is None else read.seen[item % len(read.seen)]
            yield read, Stretch(rows[read.part], keys, self.value[item, head, read.slots], seen)
