# SPDX-License-Identifier: Apache-2.0
"""Queries, keys, values and maybe a mask -> attention outputs: on CPUs a block of queries at a time; exact gradients.

For what continues a shared prefix PyTorch's kernel wants a mask, reads all keys for every query, and transformers
copies keys and values for every query head of a group. Here the query heads that share a key-value head stand in one
matrix, nothing is copied, and without a mask only the keys up to a block's last query are read. A block's scores live
only while it is computed, so memory grows with the length, never with its square; the backward pass computes them
again, as FlashAttention does (Dao et al., 2022, section 3.1). For a whole prompt without a mask PyTorch's own kernel is
as good, and does it (docs/log.md). So do its kernels on a GPU, where FlashAttention itself also continues a cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask

BLOCKWISE = "seal_blockwise"
EXTENDED = "seal_extended"  # past a model's window (extension/delta_rotation.py): it must be told where keys stand
BLOCK_QUERIES = 128  # of a block at most: of a causal block's last keys half are computed in vain
BLOCK_SCORES = 2**19  # of a block, where more than one head has so few: what comes next finds them in the cache


def register_blockwise() -> None:
    """Make `attn_implementation="seal_blockwise"` known to transformers; other names stay as they are."""
    AttentionInterface.register(BLOCKWISE, attention_forward)
    AttentionMaskInterface.register(BLOCKWISE, blockwise_mask)


def blockwise_mask(
    *,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Any] = causal_mask_function,
    attention_mask: torch.Tensor | None = None,
    **given: Any,
) -> torch.Tensor | None:
    """transformers' mask, (batch, 1, queries, keys), True where seen; None where a query sees all keys up to its own.

    PyTorch's kernel needs a mask for what continues a cache; here None means causal there too.
    """
    plain = mask_function is causal_mask_function and (attention_mask is None or bool(attention_mask.all()))
    if plain and given.get("allow_is_causal_skip", True) and kv_offset == 0 and q_offset + q_length == kv_length:
        return None
    return sdpa_mask(
        q_length=q_length,
        kv_length=kv_length,
        q_offset=q_offset,
        kv_offset=kv_offset,
        mask_function=mask_function,
        attention_mask=attention_mask,
        **given,
    )


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

    Whole prompts and single queries without a mask go to PyTorch's kernel, and so does what this one does not do, and
    on a GPU everything.
    """
    queries, keys = query.shape[2], key.shape[2]
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    continues = attention_mask is None and causal and 1 < queries < keys
    unread = dropout or kwargs.get("position_bias") is not None or kwargs.get("softcap")
    if unread and continues:
        attention_mask = causal_mask(queries, keys, query.device)
    on_cpu = query.device.type == "cpu"
    if continues and not unread and not on_cpu:
        return continued(query, key, value, scaling).transpose(1, 2), None
    if unread or not on_cpu or (attention_mask is None and not continues):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return BlockwiseAttention.apply(query, key, value, attention_mask, scale).transpose(1, 2), None


def continued(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None) -> torch.Tensor:
    """(batch, heads, queries, value_size): the last query sees all keys, by a kernel that needs no mask for it.

    FlashAttention reads a group's keys once; other kernels want them copied for each head.
    """
    groups = query.shape[1] // key.shape[1]
    flash = flashes(query.dtype, query.device) and query.shape[-1] == value.shape[-1] <= 256
    if groups > 1 and not flash:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    corner = causal_lower_right(query.shape[2], key.shape[2])
    return functional.scaled_dot_product_attention(
        query, key, value, attn_mask=corner, scale=scale, enable_gqa=flash and groups > 1
    )


def flashes(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether PyTorch has FlashAttention there: 16 bits on an Ampere GPU or a newer one."""
    return device.type == "cuda" and dtype.itemsize == 2 and torch.cuda.get_device_capability(device) >= (8, 0)


class BlockwiseAttention(torch.autograd.Function):
    """softmax(scale * query @ key^T + mask) @ value, over blocks of queries.

    `mask` is (batch or 1, heads or 1, queries, keys), boolean (True: seen) or added to the scores, and has no gradient;
    None where the last query sees all keys, the one before it all but one, and so on.
    """

    @staticmethod
    def forward(
        context: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scale: float,
    ) -> torch.Tensor:
        """(batch, heads, queries, value_size)."""
        context.save_for_backward(query, key, value, mask)
        context.scale = scale
        batch, heads, length, _ = query.shape
        output = query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)  # as the caller will read it
        for block in _blocks(query, key, value, mask, scale):
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
        for block in _blocks(query, key, value, mask, context.scale):
            outer = block.grouped(gradient)
            weights_gradient = torch.bmm(outer, block.values.transpose(1, 2))
            scores_gradient = torch._softmax_backward_data(weights_gradient, block.weights, -1, query.dtype)
            query_gradient[block.asking] = block.ungrouped(torch.bmm(scores_gradient, block.keys).mul_(context.scale))
            # The block's queries carry the scale already.
            block.add(key_gradient, torch.bmm(scores_gradient.transpose(1, 2), block.queries))
            block.add(value_gradient, torch.bmm(block.weights.transpose(1, 2), outer))
        return query_gradient, key_gradient.to(key.dtype), value_gradient.to(value.dtype), None, None


class _Block:
    """Some of the queries of some key-value heads, and the keys they may see.

    `asking` and `asked` are its places in (batch, heads, queries, size) and (batch, key_value_heads, keys, size); its
    matrices are (batch items * key-value heads of the block, rows, columns).
    """

    def __init__(
        self,
        items: slice,
        heads: slice,
        span: slice,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scale: float,
    ) -> None:
        group = query.shape[1] // key.shape[1]
        seen = key.shape[2] - query.shape[2] + span.stop if mask is None else key.shape[2]
        self.asking = (items, slice(heads.start * group, heads.stop * group), span)
        self.asked = (items, heads, slice(seen))
        self.shape = (items.stop - items.start, heads.stop - heads.start)
        self.keys, self.values = key[self.asked].flatten(0, 1), value[self.asked].flatten(0, 1)
        self.queries = self.grouped(query) * scale
        scores = torch.bmm(self.queries, self.keys.transpose(1, 2))
        if mask is None:
            own = span.stop - span.start
            hide(scores[..., seen - own :], causal_mask(own, own, key.device), *self.shape)
        else:
            places = zip(self.asking, mask.shape, strict=False)
            hide(scores, mask[tuple(place if size > 1 else slice(None) for place, size in places)], *self.shape)
        self.weights = torch.softmax(scores, -1)

    def grouped(self, tensor: torch.Tensor) -> torch.Tensor:
        """(batch, heads, all queries, size) -> the block's rows."""
        return grouped(tensor[self.asking], self.shape[1])

    def ungrouped(self, rows: torch.Tensor) -> torch.Tensor:
        """The block's rows -> (items, heads, queries of the block, size)."""
        span = self.asking[2]
        return rows.view(self.shape[0], -1, span.stop - span.start, rows.shape[-1])

    def add(self, total: torch.Tensor, rows: torch.Tensor) -> None:
        """Add a row for each of the block's keys to what stands at their place."""
        total[self.asked].add_(rows.unflatten(0, self.shape))


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


def causal_mask(queries: int, keys: int, device: torch.device) -> torch.Tensor:
    """(1, 1, queries, keys), True where seen: the last query sees all keys."""
    return torch.ones(queries, keys, dtype=torch.bool, device=device).tril_(keys - queries)[None, None]


def _blocks(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float
) -> Iterator[_Block]:
    """As many heads at a time as have BLOCK_SCORES together; of several batch items all heads, or of one some."""
    batch, heads, length, _ = query.shape
    key_value_heads = key.shape[1]
    rows = min(length, BLOCK_QUERIES)
    together = max(1, BLOCK_SCORES // (heads // key_value_heads * rows * key.shape[2]))
    items, some = max(1, together // key_value_heads), min(together, key_value_heads)
    for item in _slices(batch, items):
        for head in _slices(key_value_heads, some):
            for span in _slices(length, rows):
                yield _Block(item, head, span, query, key, value, mask, scale)


def _slices(length: int, size: int) -> Iterator[slice]:
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))
