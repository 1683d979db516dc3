# SPDX-License-Identifier: Apache-2.0
"""What transformers hands to attention -> outputs: on CPUs in blocks, or streamed, where PyTorch's kernel is slow.

That is what continues a shared prefix; and a whole prompt that a backward pass is to come for, in bfloat16 where query
heads share their keys: by blockwise.py, and behind many keys by streamed_blocks.py. Other whole prompts without a mask
are PyTorch's own kernel's (docs/log.md), to the bit what a stock model answers, and so is everything on a GPU, where
FlashAttention itself also continues a cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask

from .blockwise import BlockwiseAttention, causal_mask
from .streamed_blocks import StreamedAttention, reading_blocks, worth_streaming

BLOCKWISE = "seal_blockwise"
EXTENDED = "seal_extended"  # past a model's window (extension/delta_rotation.py): it must be told where keys stand


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

    Single queries without a mask go to PyTorch's kernel, and so do whole prompts without a graph or as fast there, what
    this one does not do, and on a GPU everything. Two keywords may come with what a model was run on: `prefix_rows`
    does the attention itself (prefix_rows.py), and `packed_lengths` says that the queries are sequences of so many
    tokens, each of which sees all keys before the first of them and its own: the mask says so too, this only spares
    reading the others'.
    """
    queries, keys = query.shape[2], key.shape[2]
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    unmasked = attention_mask is None and causal and queries > 1
    continues = unmasked and queries < keys
    shared_keys = query.shape[1] > key.shape[1]
    faster_here = continues or (unmasked and query.requires_grad and query.dtype == torch.bfloat16 and shared_keys)
    unread = dropout or kwargs.get("position_bias") is not None or kwargs.get("softcap")
    rows = kwargs.get("prefix_rows")
    if rows is not None and not unread:
        return rows.attend(query, key, value, query.shape[-1] ** -0.5 if scaling is None else scaling), None
    if unread and continues:
        attention_mask = causal_mask(queries, keys, query.device)
    on_cpu = query.device.type == "cpu"
    if continues and not unread and not on_cpu:
        return continued(query, key, value, scaling).transpose(1, 2), None
    if unread or not on_cpu or (attention_mask is None and not faster_here):
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    lengths = kwargs.get("packed_lengths")
    if (attention_mask is None or lengths is not None) and worth_streaming(query, key, attention_mask):
        blocks = reading_blocks(query, key, attention_mask, lengths)
        return StreamedAttention.apply(blocks, scale, value, 1, key, query).transpose(1, 2), None
    return BlockwiseAttention.apply(query, key, value, attention_mask, scale, lengths).transpose(1, 2), None


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
