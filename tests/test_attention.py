# SPDX-License-Identifier: Apache-2.0
"""Attention in blocks of queries equals PyTorch's, values and gradients, whatever the block, mask and grouping."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from transformers.masking_utils import sdpa_mask, sliding_window_causal_mask_function

import tiny
from seal_attention import attention, blockwise
from seal_attention.attention import BLOCKWISE
from seal_attention.blockwise import BlockwiseAttention

LENGTH, KEYS, SIZE = 11, 17, 8
PACKED = (3, 1, 5, 2)  # sequences that stand one behind the other, LENGTH in all


def drawn(heads: int, key_value_heads: int, batch: int = 2) -> list[torch.Tensor]:
    """Query, key and value in float64, with gradients."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(heads, LENGTH, SIZE), (key_value_heads, KEYS, SIZE), (key_value_heads, KEYS, SIZE - 3)]
    return [torch.randn(batch, *shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def mask_of(kind: str, heads: int) -> torch.Tensor:
    """A mask of some kind; every query sees a key."""
    generator = torch.Generator().manual_seed(5)
    seen = torch.rand(2, heads if kind == "by head" else 1, LENGTH, KEYS, generator=generator) > 0.4
    seen[..., 0] = True
    if kind == "of one row":
        seen = seen[:1]
    if kind == "packed":
        own = torch.block_diag(*(torch.ones(length, length).tril() for length in PACKED)).bool()
        seen = torch.cat((torch.ones(LENGTH, KEYS - LENGTH, dtype=torch.bool), own), 1)[None, None]
    if kind == "added":
        return torch.zeros(seen.shape, dtype=torch.float64).masked_fill(~seen, -1e300)
    return seen


@pytest.mark.parametrize(
    ("rows", "scores"), [(1, 1), (4, 1), (4, 4 * KEYS * 4), (128, 2**21)], ids=["least", "a head", "some heads", "all"]
)
@pytest.mark.parametrize("kind", ["none", "whole", "boolean", "added", "by head", "of one row", "packed"])
@pytest.mark.parametrize(("heads", "key_value_heads"), [(4, 4), (6, 2), (3, 1)])
def test_values_and_gradients_equal_pytorchs(
    heads: int, key_value_heads: int, kind: str, rows: int, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blockwise, "BLOCK_QUERIES", rows)
    monkeypatch.setattr(blockwise, "BLOCK_SCORES", scores)
    query, key, value = drawn(heads, key_value_heads)
    if kind == "whole":  # no key before the first query's
        key, value = key[:, :, :LENGTH], value[:, :, :LENGTH]
    keys = key.shape[2]
    causal = torch.ones(LENGTH, keys, dtype=torch.bool).tril(keys - LENGTH)
    mask = None if kind in ("none", "whole") else mask_of(kind, heads)
    ours = BlockwiseAttention.apply(query, key, value, mask, 0.3, PACKED if kind == "packed" else None)
    groups = heads // key_value_heads
    theirs = functional.scaled_dot_product_attention(
        query,
        key.repeat_interleave(groups, 1),
        value.repeat_interleave(groups, 1),
        attn_mask=causal if mask is None else mask,
        scale=0.3,
    )
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    outer = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.autograd.grad(theirs, (query, key, value), outer)
    for mine, other in zip(torch.autograd.grad(ours, (query, key, value), outer), expected, strict=True):
        assert other.abs().max() > 1e-3
        assert torch.allclose(mine, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "heads", "graph", "here"),
    [
        (torch.bfloat16, 6, True, True),
        (torch.bfloat16, 6, False, False),  # so that a model answers to the bit what it answers elsewhere
        (torch.bfloat16, 2, True, False),
        (torch.float16, 6, True, False),
        (torch.float32, 6, True, False),
    ],
)
def test_a_whole_prompt_is_read_here_where_its_gradients_are_faster(
    dtype: torch.dtype, heads: int, graph: bool, here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, key, value = (torch.randn(1, some, KEYS, SIZE, dtype=dtype) for some in (heads, 2, 2))
    query.requires_grad_(graph)
    module = torch.nn.Identity()
    module.num_key_value_groups = heads // 2  # type: ignore[assignment]
    asked: list[torch.Tensor] = []
    apply = BlockwiseAttention.apply
    monkeypatch.setattr(BlockwiseAttention, "apply", lambda *given: asked.append(given[0]) or apply(*given))
    found, _ = attention.attention_forward(module, query, key, value, None, is_causal=True)
    assert len(asked) == here
    wide = (tensor.double() for tensor in (query, *(some.repeat_interleave(heads // 2, 1) for some in (key, value))))
    exact = functional.scaled_dot_product_attention(*wide, is_causal=True).transpose(1, 2)
    assert torch.allclose(found.double(), exact, rtol=0, atol=0.03)


@pytest.mark.parametrize("rows", [4, 6])
def test_packed_sequences_in_other_blocks_are_not_read(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blockwise, "BLOCK_QUERIES", rows)
    query, key, value = drawn(4, 2)
    mask = mask_of("packed", 4)
    expected = BlockwiseAttention.apply(query, key, value, mask, 0.3, PACKED)
    last = PACKED[-1]  # 3 + 1 and 5 in blocks of their own, or 3 + 1 and 5: the last one stands alone
    with torch.no_grad():
        key[:, :, KEYS - LENGTH : -last] = value[:, :, KEYS - LENGTH : -last] = torch.nan
    again = BlockwiseAttention.apply(query, key, value, mask, 0.3, PACKED)
    assert torch.equal(again[:, :, -last:], expected[:, :, -last:])


def test_a_query_that_sees_nothing_gives_numbers() -> None:
    query, key, value = drawn(4, 2)
    mask = torch.ones(1, 1, LENGTH, KEYS, dtype=torch.bool)
    mask[..., 2, :] = False
    assert BlockwiseAttention.apply(query, key, value, mask, 0.3).isfinite().all()


def test_it_serves_the_families_that_take_pytorchs_attention_and_no_others() -> None:
    chosen = {name: tiny.shared(name).model.config.get_text_config()._attn_implementation for name in tiny.FAMILIES}
    assert {chosen[name] for name in ("llama", "qwen3", "gpt2", "phi3", "mixtral", "gemma3-with-vision")} == {BLOCKWISE}
    assert {chosen[name] for name in ("gemma2", "gpt_oss")} == {"eager"}
    assert chosen["falcon-alibi"] != BLOCKWISE


@torch.no_grad()
@pytest.mark.parametrize("given", [{}, {"attention_mask": torch.ones(1, KEYS, dtype=torch.bool)}], ids=["none", "ones"])
def test_what_continues_a_cache_needs_no_mask(given: dict[str, torch.Tensor]) -> None:
    shape = {"batch_size": 1, "q_length": LENGTH, "kv_length": KEYS, "q_offset": KEYS - LENGTH, **given}
    assert attention.blockwise_mask(**shape) is None
    padded = {**shape, "attention_mask": torch.arange(KEYS)[None] > 0}
    assert attention.blockwise_mask(**padded)[0, 0].sum() == sdpa_mask(**shape)[0, 0].sum() - LENGTH
    window = {**shape, "mask_function": sliding_window_causal_mask_function(3), "local_size": 3}
    assert torch.equal(attention.blockwise_mask(**window), sdpa_mask(**window))
    assert attention.blockwise_mask(**shape, allow_is_causal_skip=False) is not None


@torch.no_grad()
@pytest.mark.parametrize("given", [{}, {"position_bias": torch.linspace(-3, 3, LENGTH * KEYS).view(1, 1, LENGTH, -1)}])
def test_queries_behind_a_cache_see_no_key_after_their_own(given: dict[str, torch.Tensor]) -> None:
    query, key, value = drawn(4, 4)
    given = {name: tensor.double() for name, tensor in given.items()}
    first, _ = attention.attention_forward(torch.nn.Identity(), query, key, value, None, **given)
    value[:, :, -1] += 1.0  # the last key's
    second, _ = attention.attention_forward(torch.nn.Identity(), query, key, value, None, **given)
    assert torch.equal(first[:, :-1], second[:, :-1])
    assert not torch.allclose(first[:, -1], second[:, -1])
