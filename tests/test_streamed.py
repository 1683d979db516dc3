# SPDX-License-Identifier: Apache-2.0
"""Attention a tile of keys at a time, in bfloat16, is as exact as bfloat16 allows, and knows when it can't be."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
import torch

from seal_attention import blockwise, streamed
from seal_attention.blockwise import BlockwiseAttention
from seal_attention.extension import piecewise
from seal_attention.extension.dual_chunk import Chunks
from seal_attention.extension.pieces import Layout, Rule
from seal_attention.extension.piecewise import PiecewiseAttention
from seal_attention.extension.self_extend import SelfExtend
from seal_attention.streamed import SAMPLE, Stretch, stream, summed_values

QUERIES, KEYS, SIZE = 150, 700, 16
ROUNDED = 0.004  # bfloat16's half a unit: weights, outputs of tiles and the result are rounded by it
pytestmark = pytest.mark.skipif(
    not streamed.streams(torch.ones(1, dtype=torch.bfloat16)), reason="a CPU that multiplies bfloat16 by itself"
)


def drawn(heads: int, keys: int = KEYS, seed: int = 0, batch: int = 2) -> torch.Tensor:
    """(batch, heads, keys, SIZE), large enough that a softmax has favourites."""
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(batch, heads, keys, SIZE, generator=generator)).bfloat16()


def apart(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Their distance, in norms of the exact one."""
    return float((found.double() - exact).norm() / exact.norm())


def softmax(scores: torch.Tensor, seen: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The definition, in float64."""
    return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ values


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Small tiles, whatever the number of keys; and whether each block could be streamed."""
    could: list[bool] = []

    def told(stretches: Iterable[Stretch]) -> torch.Tensor | None:
        mixed = stream(stretches)
        could.append(mixed is not None)
        return mixed

    monkeypatch.setattr(streamed, "TILE_WEIGHTS", 1)
    for module in (blockwise, piecewise):
        monkeypatch.setattr(module, "stream", told)
    monkeypatch.setattr(blockwise, "STREAMED_KEYS", 1)
    return could


@pytest.mark.parametrize("keys", [KEYS, QUERIES], ids=["behind others", "whole"])
@pytest.mark.parametrize(("heads", "key_value_heads"), [(4, 4), (6, 2)])
def test_causal_attention_is_exact_but_for_rounding(
    heads: int, key_value_heads: int, keys: int, counted: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    query, key, value = drawn(heads, QUERIES), drawn(key_value_heads, keys, 1), drawn(key_value_heads, keys, 2)
    found = BlockwiseAttention.apply(query, key, value, None, 0.25)
    assert counted
    assert all(counted)
    wide = [tensor.double().repeat_interleave(heads // key_value_heads, 1) for tensor in (key, value)]
    seen = torch.ones(QUERIES, keys, dtype=torch.bool).tril(keys - QUERIES)
    exact = softmax(query.double() @ wide[0].transpose(2, 3) * 0.25, seen, wide[1])
    assert apart(found, exact) < ROUNDED
    monkeypatch.setattr(blockwise, "STREAMED_KEYS", keys + 1)
    assert apart(BlockwiseAttention.apply(query, key, value, None, 0.25), exact) > ROUNDED  # scores rounded as well


@pytest.mark.parametrize("rule", [SelfExtend(3, 200), Chunks(150, 200)], ids=["self-extend", "dca"])
@pytest.mark.parametrize(("rows", "streamed"), [(1, True), (2, True), (2, False)])
def test_pieces_are_exact_but_for_rounding(rule: Rule, rows: int, streamed: bool, counted: list[bool]) -> None:
    moved = torch.arange(rows)[:, None]  # each row stands elsewhere
    layout = Layout(rule, torch.arange(KEYS - QUERIES, KEYS) + moved, torch.arange(KEYS) + moved, causal=True)
    parts = int(rule.part(layout.queries[:, -1:], layout.keys).max())
    queries = [drawn(6, QUERIES, seed) for seed in range(1 + parts)]
    value, key, far_key = (drawn(2, KEYS, seed) for seed in (5, 6, 7))
    if not streamed:
        far_key[:, :, SAMPLE] *= 20
    found = PiecewiseAttention.apply(layout, None, 0.25, value, key, far_key, *queries)
    assert counted
    assert all(counted) == streamed
    near, far, wide = (tensor.double().repeat_interleave(3, 1) for tensor in (key, far_key, value))
    part = rule.part(layout.queries[:, :, None], layout.keys[:, None])[:, None]
    scores = queries[0].double() @ near.transpose(2, 3)
    for number, query in enumerate(queries[1:], start=1):
        scores = torch.where(part == number, query.double() @ far.transpose(2, 3), scores)
    seen = torch.ones(QUERIES, KEYS, dtype=torch.bool).tril(KEYS - QUERIES)
    assert apart(found, softmax(scores * 0.25, seen, wide)) < (ROUNDED if streamed else 10 * ROUNDED)


def test_what_bfloat16_weights_cannot_hold_is_left_to_a_softmax(counted: list[bool]) -> None:
    query, key, value = drawn(6, QUERIES), drawn(2, KEYS, 1), drawn(2, KEYS, 2)
    key[:, :, KEYS // 2] = 30 * query[:, ::3, -1].sign()  # far beyond the first keys' scores, for the last query
    found = BlockwiseAttention.apply(query, key, value, None, 0.25)
    assert not all(counted)
    chosen = value[:, :, KEYS // 2].double()
    assert apart(found[:, ::3, -1], chosen) < ROUNDED


@pytest.mark.parametrize(
    "shift", [lambda scores: scores - 60, lambda scores: scores + 30, lambda scores: scores * torch.nan]
)
def test_scores_far_from_those_looked_at_are_not_streamed(shift: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """A column more in queries and keys adds to the scores of all keys but the first ones."""
    keys = torch.cat((drawn(1, batch=1)[0, 0], torch.zeros(KEYS, 1)), 1).bfloat16()
    queries = torch.cat((drawn(1, QUERIES, 1, 1)[0, 0] / 8, torch.ones(QUERIES, 1)), 1).bfloat16()
    values = summed_values(drawn(1, seed=2, batch=1)[0, 0])
    assert stream([Stretch(queries, keys, values)]) is not None
    keys[SAMPLE:, -1] = shift(torch.zeros(()))
    hidden = torch.arange(KEYS).expand(QUERIES, -1) >= SAMPLE
    assert stream([Stretch(queries, keys, values, hidden)]) is None


def test_tiles_say_the_same_whatever_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, keys, values = drawn(1, QUERIES)[0, 0] / 4, drawn(1, seed=1)[0, 0], summed_values(drawn(1, seed=2)[0, 0])
    seen = torch.rand(QUERIES, KEYS, generator=torch.Generator().manual_seed(4)) > 0.5
    outputs = []
    for step in (64, 1024):
        monkeypatch.setattr(streamed, "TILE_STEP", step)
        monkeypatch.setattr(streamed, "TILE_WEIGHTS", 1)
        mixed = stream([Stretch(queries, keys, values, seen)])
        assert mixed is not None
        outputs.append(mixed.double())
    assert apart(outputs[0], outputs[1]) < ROUNDED
