# SPDX-License-Identifier: Apache-2.0
"""Queries, keys, values and maybe a mask -> attention outputs, a block of queries at a time; exact gradients.

For what continues a shared prefix PyTorch's kernel wants a mask, reads all keys for every query, and transformers
copies keys and values for every query head of a group; of a whole prompt its backward pass is slow (docs/log.md). Here
the query heads that share a key-value head stand in one matrix, nothing is copied, and a block reads only keys that one
of its queries may see: without a mask those up to its last query, of packed sequences the common prefix and the block's
own. A block's scores live only while it is computed, so memory grows with the length, never with its square; the
backward pass computes them again, as FlashAttention does (Dao et al., 2022, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from .block_spans import Span, slices, spans

BLOCK_QUERIES = 128  # of a block at most: of a causal block's last keys half are computed in vain
BLOCK_SCORES = 2**21  # of a block, where more than one head has so few: more would leave the last of a CPU's caches


class BlockwiseAttention(torch.autograd.Function):
    """softmax(scale * query @ key^T + mask) @ value, over blocks of queries.

    `mask` is (batch or 1, heads or 1, queries, keys), boolean (True: seen) or added to the scores, and has no gradient;
    None where the last query sees all keys, the one before it all but one, and so on. `lengths` may be given beside a
    mask, where the queries are sequences of so many tokens, each of which sees all keys before the first of them, and
    of the others only its own: what the mask hides anyway is not read then.
    """

    @staticmethod
    def forward(
        context: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scale: float,
        lengths: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """(batch, heads, queries, value_size)."""
        context.save_for_backward(query, key, value, mask)
        context.scale, context.lengths = scale, lengths
        batch, heads, length, _ = query.shape
        output = query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)  # as the caller will read it
        for block in _blocks(query, key, value, mask, scale, lengths):
            output[block.asking] = block.ungrouped(torch.bmm(block.weights, block.values))
        return output

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of query, key and value; those of keys and values are summed over blocks in float32."""
        query, key, value, mask = context.saved_tensors
        query_gradient = torch.empty_like(query)
        wide = torch.promote_types(query.dtype, torch.float32)
        key_gradient = torch.zeros(key.shape, dtype=wide, device=key.device)
        value_gradient = torch.zeros(value.shape, dtype=wide, device=value.device)
        for block in _blocks(query, key, value, mask, context.scale, context.lengths):
            outer = block.grouped(gradient)
            weights_gradient = torch.bmm(outer, block.values.transpose(1, 2))
            scores_gradient = torch._softmax_backward_data(weights_gradient, block.weights, -1, query.dtype)
            query_gradient[block.asking] = block.ungrouped(torch.bmm(scores_gradient, block.keys).mul_(context.scale))
            # The block's queries carry the scale already.
            block.add(key_gradient, torch.bmm(scores_gradient.transpose(1, 2), block.queries))
            block.add(value_gradient, torch.bmm(block.weights.transpose(1, 2), outer))
        return query_gradient, key_gradient.to(key.dtype), value_gradient.to(value.dtype), None, None, None


class _Block:
    """Some of the queries of some key-value heads, and the keys they may see.

    `asking` is its place in (batch, heads, queries, size); its matrices are (batch items * key-value heads of the
    block, rows, columns).
    """

    def __init__(
        self,
        items: slice,
        heads: slice,
        span: Span,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scale: float,
    ) -> None:
        group = query.shape[1] // key.shape[1]
        self.span, self.items, self.heads = span, items, heads
        self.asking = (items, slice(heads.start * group, heads.stop * group), span.queries)
        self.shape = (items.stop - items.start, heads.stop - heads.start)
        self.keys, self.values = self.read(key), self.read(value)
        self.queries = self.grouped(query) * scale
        scores = torch.bmm(self.queries, self.keys.transpose(1, 2))
        if mask is None:
            own = span.told.stop - span.told.start
            told = causal_mask(own, own, key.device)
        else:
            places = zip(self.asking, mask.shape, strict=False)
            told = mask[(*(place if size > 1 else slice(None) for place, size in places), span.told)]
        hide(scores[..., span.free :], told, *self.shape)
        self.weights = torch.softmax(scores, -1)

    def read(self, tensor: torch.Tensor) -> torch.Tensor:
        """Keys or values (batch, key_value_heads, time, size) -> the block's columns."""
        runs = [tensor[self.items, self.heads, run].flatten(0, 1) for run in self.span.runs]
        return runs[0] if len(runs) == 1 else torch.cat(runs, 1)

    def grouped(self, tensor: torch.Tensor) -> torch.Tensor:
        """(batch, heads, all queries, size) -> the block's rows."""
        return grouped(tensor[self.asking], self.shape[1])

    def ungrouped(self, rows: torch.Tensor) -> torch.Tensor:
        """The block's rows -> (items, heads, queries of the block, size)."""
        queries = self.span.queries
        return rows.view(self.shape[0], -1, queries.stop - queries.start, rows.shape[-1])

    def add(self, total: torch.Tensor, rows: torch.Tensor) -> None:
        """Add a row for each of the block's keys to what stands at their place."""
        sizes = [run.stop - (run.start or 0) for run in self.span.runs]
        for run, own in zip(self.span.runs, rows.unflatten(0, self.shape).split(sizes, 2), strict=True):
            total[self.items, self.heads, run].add_(own)


def grouped(tensor: torch.Tensor, key_value_heads: int) -> torch.Tensor:
    """(batch, heads, queries, size) -> (batch * key_value_heads, rows, size): what reads one head's keys, together.

    The rows are the queries of each query head that reads the key-value head, one head after the other.
    """
    return tensor.reshape(len(tensor) * key_value_heads, -1, tensor.shape[-1])


def hide(scores: torch.Tensor, mask: torch.Tensor, batch: int, key_value_heads: int) -> None:
    """Take what the mask (batch or 1, heads or 1, queries, keys) hides out of grouped scores, in place."""
    by_head = scores.unflatten(0, (batch, key_value_heads)).unflatten(2, (-1, mask.shape[2]))
    seen = mask.unsqueeze(2)  # (batch or 1, heads or 1, 1, queries, keys)
    if mask.shape[1] > 1:
        seen = seen.reshape(len(mask), key_value_heads, -1, *seen.shape[-2:])
    if mask.dtype == torch.bool:
        by_head.masked_fill_(~seen, torch.finfo(scores.dtype).min)
    else:
        by_head.add_(seen)


def product(left: torch.Tensor, right: torch.Tensor, into: torch.Tensor | None = None) -> torch.Tensor:
    """`torch.bmm`; on a CPU a matrix at a time, since there it copies what does not lie in one stretch of memory."""
    if left.device.type != "cpu":
        return torch.bmm(left, right, out=into)
    into = left.new_empty(len(left), left.shape[1], right.shape[2]) if into is None else into
    for one, other, result in zip(left, right, into, strict=True):
        torch.mm(one, other, out=result)
    return into


def causal_mask(queries: int, keys: int, device: torch.device) -> torch.Tensor:
    """(1, 1, queries, keys), True where seen: the last query sees all keys."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril_(keys - queries)[None, None]


def _blocks(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    lengths: Sequence[int] | None,
) -> Iterator[_Block]:
    """As many heads at a time as have BLOCK_SCORES together; of several batch items all heads, or of one some."""
    batch, heads, length, _ = query.shape
    key_value_heads = key.shape[1]
    together = max(1, BLOCK_SCORES // (heads // key_value_heads * min(length, BLOCK_QUERIES) * key.shape[2]))
    items, some = max(1, together // key_value_heads), min(together, key_value_heads)
    cut = list(spans(length, key.shape[2], BLOCK_QUERIES, mask is None, lengths))
    for item in slices(0, batch, items):
        for head in slices(0, key_value_heads, some):
            for span in cut:
                yield _Block(item, head, span, query, key, value, mask, scale)
