# SPDX-License-Identifier: Apache-2.0
"""Queries and keys as each part sees them, values, a mask -> attention outputs, a block at a time; exact gradients.

One softmax over all the pieces of a block, and for each piece two matrix products. As in attention.py the query heads
of a group stand in one matrix, scores live only while their block is computed, and the backward pass computes them
again, so memory grows with the length and never with its square.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..attention import grouped, hide
from .pieces import Block, Layout, Piece

BLOCK_SCORES = 2**22  # of a block: few enough for the processor's cache, enough for whole matrix products
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
            mixed = [torch.bmm(weights, block.values[:, piece.run]) for piece, weights in block.split(block.weights)]
            output[:, :, block.span] = block.ungrouped(functools.reduce(torch.add, mixed))
        return output

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of value, keys and queries; those of values and keys are summed over blocks in float32."""
        mask, value, key, far_key, *queries = context.saved_tensors
        query_gradients = [torch.zeros_like(query) for query in queries]
        value_gradient, key_gradient, far_gradient = (_wide_zeros(tensor) for tensor in (value, key, far_key))
        for block in _opened(context.layout, mask, context.scale, value, key, far_key, queries):
            outer = grouped(gradient[:, :, block.span], value.shape[1])
            weights_gradient = torch.empty_like(block.weights)
            for piece, columns in block.split(weights_gradient):
                torch.bmm(outer, block.values[:, piece.run].transpose(1, 2), out=columns)
            scores_gradient = torch._softmax_backward_data(weights_gradient, block.weights, -1, key.dtype)
            split = zip(block.split(scores_gradient), block.split(block.weights), strict=True)
            for (piece, scores), (_, weights) in split:
                query_gradients[piece.part][:, :, block.span] = block.ungrouped(
                    torch.bmm(scores, block.keys_of(piece)).mul_(context.scale)
                )
                # The block's queries carry the scale already.
                own = torch.bmm(scores.transpose(1, 2), block.queries[piece.part])
                (far_gradient if piece.part else key_gradient).flatten(0, 1)[:, piece.run].add_(own)
                value_gradient.flatten(0, 1)[:, piece.run].add_(torch.bmm(weights.transpose(1, 2), outer))
        given = zip((value, key, far_key), (value_gradient, key_gradient, far_gradient), strict=True)
        return (None, None, None, *(wide.to(tensor.dtype) for tensor, wide in given), *query_gradients)


class _Opened:
    """A block with its softmax weights; matrices are (batch * key_value_heads, rows, columns)."""

    def __init__(
        self,
        block: Block,
        layout: Layout,
        mask: torch.Tensor | None,
        scale: float,
        value: torch.Tensor,
        key: torch.Tensor,
        far_key: torch.Tensor,
        queries: Sequence[torch.Tensor],
    ) -> None:
        self.span, self.pieces = block.queries, block.pieces
        batch, self.heads = queries[0].shape[:2]
        heads = key.shape[1]
        self.keys, self.far_keys, self.values = (tensor.flatten(0, 1) for tensor in (key, far_key, value))
        parts = {piece.part for piece in block.pieces}
        self.queries = {part: grouped(queries[part][:, :, self.span], heads) * scale for part in parts}
        rows = self.heads // heads * (self.span.stop - self.span.start)
        scores = key.new_empty(batch * heads, rows, block.width)
        for piece, columns in self.split(scores):
            torch.bmm(self.queries[piece.part], self.keys_of(piece).transpose(1, 2), out=columns)
            if mask is not None:
                hide(columns, mask[:, :, self.span, piece.run], batch, heads)
            start, stop = (end - piece.run.start for end in (piece.unclear.start, piece.unclear.stop))
            if start < stop:
                hide(columns[..., start:stop], layout.seen(self.span, piece), batch, heads)
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
        """The block's rows -> (batch, heads, its queries, size)."""
        return rows.view(-1, self.heads, self.span.stop - self.span.start, rows.shape[-1])


def blocks_for(layout: Layout, query: torch.Tensor, key: torch.Tensor) -> tuple[Block, ...]:
    """The blocks that the kernel takes the queries in, (batch, heads, queries, size) against (batch, _, keys, size)."""
    batch, heads = query.shape[:2]
    scores = BLOCK_SCORES if query.device.type == "cpu" else GPU_BLOCK_SCORES
    return layout.blocks(max(1, scores // (batch * heads * key.shape[2])))


def _opened(
    layout: Layout,
    mask: torch.Tensor | None,
    scale: float,
    value: torch.Tensor,
    key: torch.Tensor,
    far_key: torch.Tensor,
    queries: Sequence[torch.Tensor],
) -> Iterator[_Opened]:
    for block in blocks_for(layout, queries[0], key):
        yield _Opened(block, layout, mask, scale, value, key, far_key, queries)


def _wide_zeros(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros(tensor.shape, dtype=torch.promote_types(tensor.dtype, torch.float32), device=tensor.device)
