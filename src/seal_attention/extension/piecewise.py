# SPDX-License-Identifier: Apache-2.0
"""Queries and keys as each part sees them, values, a mask -> attention outputs, a block at a time; exact gradients.

One softmax over all the pieces of a block, and for each piece two matrix products. As in blockwise.py the query heads
of a group stand in one matrix, scores live only while their block is computed, and the backward pass computes them
again, so memory grows with the length and never with its square.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..blockwise import BLOCK_QUERIES, grouped, hide, product
from .pieces import Block, Layout, Piece

BLOCK_SCORES = 2**23  # of a block: 16 MB in bfloat16, which the allocator still keeps; enough for whole matrix products
GPU_BLOCK_SCORES = 2**26  # 128 MB in bfloat16: fewer, and a GPU would wait for its kernels to be sent


class PiecewiseAttention(torch.autograd.Function):
    """softmax(scale * query @ key^T + mask) @ value, the query and key of each pair being those of its part.

    `queries` are (batch, heads, queries, size), one tensor a part; `key` is read in part 0 and `far_key` in the others
    (it may end with the last slot that they read). `mask` is None where `layout` is causal, else (batch or 1, heads or
    1, queries, keys), boolean (True: seen) or added to the scores, and has no gradient.
    """

    @staticmethod
    def forward(
        context: Any,
        layout: Layout,
        mask: torch.Tensor | None,
        scale: float,
        value: torch.Tensor,
        key: torch.Tensor,
        far_key: torch.Tensor,
        *queries: torch.Tensor,
    ) -> torch.Tensor:
        """(batch, heads, queries, value_size)."""
        context.save_for_backward(mask, value, key, far_key, *queries)
        context.layout, context.scale = layout, scale
        batch, heads, length, _ = queries[0].shape
        output = value.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)  # as the caller will read it
        for block in _opened(layout, mask, scale, value, key, far_key, queries):
            mixed = [product(weights, block.values[:, piece.run]) for piece, weights in block.split(block.weights)]
            output[block.asking] = block.ungrouped(sum(mixed[1:], mixed[0]))
        return output

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of value, keys and queries; those of values and keys are summed over blocks in float32."""
        mask, value, key, far_key, *queries = context.saved_tensors
        query_gradients = [torch.zeros_like(query) for query in queries]
        value_gradient, key_gradient, far_gradient = (_wide_zeros(tensor) for tensor in (value, key, far_key))
        for block in _opened(context.layout, mask, context.scale, value, key, far_key, queries):
            outer = grouped(gradient[block.asking], block.shape[1])
            weights_gradient = torch.empty_like(block.weights)
            for piece, columns in block.split(weights_gradient):
                product(outer, block.values[:, piece.run].transpose(1, 2), columns)
            scores_gradient = torch._softmax_backward_data(weights_gradient, block.weights, -1, key.dtype)
            split = zip(block.split(scores_gradient), block.split(block.weights), strict=True)
            for (piece, scores), (_, weights) in split:
                query_gradients[piece.part][block.asking] = block.ungrouped(
                    product(scores, block.keys_of(piece)).mul_(context.scale)
                )
                # The block's queries carry the scale already.
                own = product(scores.transpose(1, 2), block.queries[piece.part])
                block.add(far_gradient if piece.part else key_gradient, piece, own)
                block.add(value_gradient, piece, product(weights.transpose(1, 2), outer))
        given = zip((value, key, far_key), (value_gradient, key_gradient, far_gradient), strict=True)
        return (None, None, None, *(wide.to(tensor.dtype) for tensor, wide in given), *query_gradients)


class _Opened:
    """A block of some key-value heads with its softmax weights.

    `asking` is its place in (batch, heads, queries, size); matrices are (batch * key-value heads of the block, rows,
    columns). `unclear` masks the unclear slots of each piece.
    """

    def __init__(
        self,
        block: Block,
        heads: slice,
        unclear: Sequence[torch.Tensor],
        mask: torch.Tensor | None,
        scale: float,
        value: torch.Tensor,
        key: torch.Tensor,
        far_key: torch.Tensor,
        queries: Sequence[torch.Tensor],
    ) -> None:
        self.heads, self.pieces = heads, block.pieces
        group, span = queries[0].shape[1] // key.shape[1], block.queries
        self.asking = (slice(None), slice(heads.start * group, heads.stop * group), span)
        self.shape = (len(key), heads.stop - heads.start)
        self.keys, self.far_keys, self.values = (tensor[:, heads].flatten(0, 1) for tensor in (key, far_key, value))
        parts = {piece.part for piece in block.pieces}
        self.queries = {part: grouped(queries[part][self.asking], self.shape[1]) * scale for part in parts}
        self.rows = (self.shape[0], group * self.shape[1], span.stop - span.start)
        scores = key.new_empty(self.shape[0] * self.shape[1], group * self.rows[2], block.width)
        if mask is not None and mask.shape[1] > 1:
            mask = mask[:, self.asking[1]]
        for (piece, columns), seen in zip(self.split(scores), unclear, strict=True):
            product(self.queries[piece.part], self.keys_of(piece).transpose(1, 2), columns)
            if mask is not None:
                hide(columns, mask[:, :, span, piece.run], *self.shape)
            start, stop = (end - piece.run.start for end in (piece.unclear.start, piece.unclear.stop))
            hide(columns[..., start:stop], seen, *self.shape)
        self.weights = torch.softmax(scores, -1)

    def split(self, matrix: torch.Tensor) -> Iterator[tuple[Piece, torch.Tensor]]:
        """Each piece with its columns."""
        start = 0
        for piece in self.pieces:
            width = piece.run.stop - piece.run.start
            yield piece, matrix[..., start : start + width]
            start += width

    def keys_of(self, piece: Piece) -> torch.Tensor:
        """The keys of its run, as its part sees them."""
        return (self.far_keys if piece.part else self.keys)[:, piece.run]

    def ungrouped(self, rows: torch.Tensor) -> torch.Tensor:
        """The block's rows -> (batch, its heads, its queries, size)."""
        return rows.view(*self.rows, rows.shape[-1])

    def add(self, total: torch.Tensor, piece: Piece, rows: torch.Tensor) -> None:
        """Add a row for each of the piece's keys to what stands at their place."""
        total[:, self.heads, piece.run].add_(rows.unflatten(0, self.shape))


def blocks_for(layout: Layout, query: torch.Tensor, key: torch.Tensor) -> tuple[Block, ...]:
    """The blocks that the kernel takes the queries in, (batch, heads, queries, size) against (batch, _, keys, size)."""
    heads = query.shape[1] // key.shape[1] * _heads_together(key)
    most, queries = (BLOCK_SCORES, BLOCK_QUERIES) if key.device.type == "cpu" else (GPU_BLOCK_SCORES, query.shape[2])
    return layout.blocks(max(1, min(queries, most // (len(query) * heads * key.shape[2]))))


def _heads_together(key: torch.Tensor) -> int:
    """Key-value heads of a block: on a CPU one, whose matrices then have more rows."""
    return 1 if key.device.type == "cpu" else key.shape[1]


def _opened(
    layout: Layout,
    mask: torch.Tensor | None,
    scale: float,
    value: torch.Tensor,
    key: torch.Tensor,
    far_key: torch.Tensor,
    queries: Sequence[torch.Tensor],
) -> Iterator[_Opened]:
    together = _heads_together(key)
    for block in blocks_for(layout, queries[0], key):
        unclear = [layout.seen(block.queries, piece) for piece in block.pieces]
        for start in range(0, key.shape[1], together):
            heads = slice(start, start + together)
            yield _Opened(block, heads, unclear, mask, scale, value, key, far_key, queries)


def _wide_zeros(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros(tensor.shape, dtype=torch.promote_types(tensor.dtype, torch.float32), device=tensor.device)
