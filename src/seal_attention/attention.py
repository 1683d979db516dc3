# SPDX-License-Identifier: Apache-2.0
"""Queries, keys, values and a mask -> attention outputs, a block of queries at a time, for CPUs; exact gradients.

What continues a shared prefix comes with a mask, and then transformers copies the keys and values for every query head
of a group, at every step. Here the query heads that share a key-value head stand in one matrix and nothing is copied;
a block's scores live only while it is computed, so memory grows with the length, never with its square. The backward
pass computes them again, as FlashAttention does (Dao et al., 2022, section 3.1). Without a mask PyTorch's own kernel is
as good, and does it (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

BLOCKWISE = "seal_blockwise"
EXTENDED = "seal_extended"  # past a model's window (extension/delta_rotation.py): it must be told where keys stand
BLOCK_SCORES = 2**22  # scores of a block: few enough for the processor's cache, enough for whole matrix products


def register_blockwise() -> None:
    """Make `attn_implementation="seal_blockwise"` known to transformers; other names stay as they are."""
    AttentionInterface.register(BLOCKWISE, attention_forward)
    AttentionMaskInterface.register(BLOCKWISE, sdpa_mask)


def attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls: (batch, heads, time, head_size) each -> (batch, time, heads, head_size).

    Calls without a mask, and those with something this kernel does not do, go to PyTorch's.
    """
    if attention_mask is None or dropout or kwargs.get("position_bias") is not None or kwargs.get("softcap"):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return BlockwiseAttention.apply(query, key, value, attention_mask, scale).transpose(1, 2), None


class BlockwiseAttention(torch.autograd.Function):
    """softmax(scale * query @ key^T + mask) @ value, over blocks of queries.

    `mask` is (batch or 1, heads or 1, queries, keys), boolean (True: seen) or added to the scores, and has no gradient.
    """

    @staticmethod
    def forward(
        context: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """(batch, heads, queries, value_size)."""
        context.save_for_backward(query, key, value, mask)
        context.scale = scale
        batch, heads, length, _ = query.shape
        output = query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)  # as the caller will read it
        for block in _blocks(query, key, value, mask, scale):
            output[:, :, block.span] = block.ungrouped(torch.bmm(block.weights, block.values))
        return output

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of query, key and value; those of keys and values are summed over blocks in float32."""
        query, key, value, mask = context.saved_tensors
        query_gradient = torch.empty_like(query)
        wide = torch.promote_types(query.dtype, torch.float32)
        key_gradient = torch.zeros(key.shape, dtype=wide, device=key.device)
        value_gradient = torch.zeros(value.shape, dtype=wide, device=value.device)
        for block in _blocks(query, key, value, mask, context.scale):
            outer = block.grouped(gradient)
            weights_gradient = torch.bmm(outer, block.values.transpose(1, 2))
            scores_gradient = torch._softmax_backward_data(weights_gradient, block.weights, -1, query.dtype)
            query_gradient[:, :, block.span] = block.ungrouped(
                torch.bmm(scores_gradient, block.keys).mul_(context.scale)
            )
            # The block's queries carry the scale already.
            key_gradient.flatten(0, 1).add_(torch.bmm(scores_gradient.transpose(1, 2), block.queries))
            value_gradient.flatten(0, 1).add_(torch.bmm(block.weights.transpose(1, 2), outer))
        return query_gradient, key_gradient.to(key.dtype), value_gradient.to(value.dtype), None, None


class _Block:
    """Some of the queries and all keys; matrices are (batch * key_value_heads, rows, columns)."""

    def __init__(
        self,
        span: slice,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor,
        scale: float,
    ) -> None:
        self.span = span
        self.heads, self.key_value_heads = query.shape[1], key.shape[1]
        self.keys, self.values = key.flatten(0, 1), value.flatten(0, 1)  # views of a cache, whatever its room
        self.queries = self.grouped(query) * scale
        scores = torch.bmm(self.queries, self.keys.transpose(1, 2))
        hide(scores, mask[:, :, span], len(query), self.key_value_heads)
        self.weights = torch.softmax(scores, -1)

    def grouped(self, tensor: torch.Tensor) -> torch.Tensor:
        """(batch, heads, all queries, size) -> the block's rows."""
        return grouped(tensor[:, :, self.span], self.key_value_heads)

    def ungrouped(self, rows: torch.Tensor) -> torch.Tensor:
        """The block's rows -> (batch, heads, its queries, size)."""
        return rows.view(-1, self.heads, self.span.stop - self.span.start, rows.shape[-1])


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


def _blocks(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, scale: float
) -> Iterator[_Block]:
    batch, heads, length, _ = query.shape
    rows = max(1, BLOCK_SCORES // (batch * heads * key.shape[2]))
    for start in range(0, length, rows):
        yield _Block(slice(start, min(start + rows, length)), query, key, value, mask, scale)
