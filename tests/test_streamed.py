# SPDX-License-Identifier: Apache-2.0
"""Attention a tile of keys at a time, in bfloat16, is as exact as bfloat16 allows, values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import tiny
from seal_attention import attention, streamed, streamed_blocks
from seal_attention.blockwise import BlockwiseAttention
from seal_attention.extension import delta_rotation
from seal_attention.extension.dual_chunk import Chunks, DualChunk
from seal_attention.extension.pieces import Layout, Rule
from seal_attention.extension.self_extend import SelfExtend
from seal_attention.models import LoadedModel
from seal_attention.objective import question_losses
from seal_attention.prompts import EncodedQuestion
from seal_attention.shared_prefix import PrefixCache
from seal_attention.streamed import SAMPLE, Gradients, Stretch, send_back, stream

QUERIES, KEYS, SIZE, SCALE = 150, 700, 16, 0.25
PACKED = (70, 30, 50)  # sequences that stand one behind the other, QUERIES in all
# Norms of what bfloat16's half a unit, .004, leaves of outputs and of gradients, which are the difference of two sums.
ROUNDED, SENT_BACK = 0.004, 0.012
pytestmark = pytest.mark.skipif(
    not streamed.streams(torch.ones(1, dtype=torch.bfloat16)), reason="a CPU that multiplies bfloat16 by itself"
)


def drawn(heads: int, time: int = KEYS, seed: int = 0, batch: int = 2) -> torch.Tensor:
    """(batch, heads, time, SIZE), large enough that a softmax has favourites; with gradients."""
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(batch, heads, time, SIZE, generator=generator)).bfloat16().requires_grad_()


def wide(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """The same in float64, leaves of their own."""
    return [tensor.detach().double().requires_grad_() for tensor in tensors]


def repeated(tensor: torch.Tensor, heads: int) -> torch.Tensor:
    """Keys or values once for each query head."""
    return tensor.repeat_interleave(heads // tensor.shape[1], 1)


def apart(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Their distance, in norms of the exact one."""
    return float((found.detach().double() - exact.detach()).norm() / exact.detach().norm())


def sent_back(output: torch.Tensor, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Gradients of the inputs, for some gradient of the output (batch, heads, queries, size)."""
    outer = torch.randn(output.shape, generator=torch.Generator().manual_seed(9)).bfloat16()
    return torch.autograd.grad(output, inputs, outer.to(output.dtype))


def seen_by(kind: str, keys: int) -> torch.Tensor:
    """(QUERIES, keys): causal, packed sequences behind the others."""
    if kind == "packed":
        own = torch.block_diag(*(torch.ones(length, length).tril() for length in PACKED)).bool()
        return torch.cat((torch.ones(QUERIES, keys - QUERIES, dtype=torch.bool), own), 1)
    return torch.ones(QUERIES, keys, dtype=torch.bool).tril(keys - QUERIES)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tiles and blocks, whatever the number of keys."""
    monkeypatch.setattr(streamed, "TILE_WEIGHTS", 1)
    monkeypatch.setattr(streamed_blocks, "STREAMED_ROWS", 1)
    monkeypatch.setattr(streamed_blocks, "STREAMED_KEYS", 1)


def attended(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, **kwargs: object
) -> torch.Tensor:
    """What attention_forward gives, (batch, heads, queries, size)."""
    return attention.attention_forward(nn.Identity(), query, key, value, mask, 0.0, SCALE, **kwargs)[0].transpose(1, 2)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("heads", "kind"),
    [(2, "behind others"), (6, "behind others"), (6, "whole"), (2, "packed"), (6, "packed")],
)
def test_values_and_gradients_are_exact_but_for_rounding(heads: int, kind: str) -> None:
    keys = QUERIES if kind == "whole" else KEYS
    tensors = drawn(heads, QUERIES), drawn(2, keys, 1), drawn(2, keys, 2)
    seen = seen_by(kind, keys)
    mask = seen[None, None] if kind == "packed" else None
    told = {"packed_lengths": PACKED} if kind == "packed" else {"is_causal": True}
    found = attended(*tensors, mask, **told)
    query, key, value = wide(*tensors)
    scores = query @ repeated(key, heads).transpose(2, 3) * SCALE
    exact = scores.masked_fill(~seen, -torch.inf).softmax(-1) @ repeated(value, heads)
    assert apart(found, exact) < ROUNDED
    expected = sent_back(exact, query, key, value)
    for mine, other in zip(sent_back(found, *tensors), expected, strict=True):
        assert apart(mine, other) < SENT_BACK
    blocks = BlockwiseAttention.apply(*tensors, mask, SCALE)  # whose scores are rounded as well
    assert apart(blocks, exact) > ROUNDED


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("rule", [SelfExtend(3, 200), Chunks(150, 200)], ids=["self-extend", "dca"])
@pytest.mark.parametrize(("rows", "kind"), [(1, "behind others"), (2, "behind others"), (1, "packed")])
def test_pieces_are_exact_but_for_rounding(rule: Rule, rows: int, kind: str) -> None:
    moved = 3 * torch.arange(rows)[:, None]  # each row stands elsewhere
    at = torch.cat([torch.arange(length) for length in PACKED]) if kind == "packed" else torch.arange(QUERIES)
    at = at + KEYS - QUERIES + moved
    slots = torch.cat((torch.arange(KEYS - QUERIES) + moved, at), 1)
    layout = Layout(rule, at, slots, causal=kind != "packed")
    seen = seen_by(kind, KEYS)
    mask = seen[None, None] if kind == "packed" else None
    part = rule.part(at[:, :, None], slots[:, None])[:, None]
    queries = [drawn(6, QUERIES, seed) for seed in range(1 + int(part[:, :, seen].max()))]
    tensors = drawn(2, seed=5), drawn(2, seed=6), drawn(2, seed=7)
    reading = layout.readings(streamed_blocks.block_queries(queries[0], tensors[0]), mask, torch.bfloat16)
    value, key, far_key = tensors
    found = streamed_blocks.StreamedAttention.apply(reading, SCALE, value, 2, key, far_key, *queries)
    value, key, far_key, *turned = wide(*tensors, *queries)
    scores = turned[0] @ repeated(key, 6).transpose(2, 3)
    for number, query in enumerate(turned[1:], start=1):
        scores = torch.where(part == number, query @ repeated(far_key, 6).transpose(2, 3), scores)
    exact = (scores * SCALE).masked_fill(~seen, -torch.inf).softmax(-1) @ repeated(value, 6)
    assert apart(found, exact) < ROUNDED
    expected = sent_back(exact, value, key, far_key, *turned)
    for mine, other in zip(sent_back(found, *tensors, *queries), expected, strict=True):
        assert apart(mine, other) < SENT_BACK


@pytest.mark.parametrize(
    "shift",
    [lambda zero: zero - 60, lambda zero: zero + 30, lambda zero: zero + 500],
    ids=["below", "above", "far above"],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_scores_far_from_those_looked_at_first_are_exact_too(
    shift: Callable[[torch.Tensor], torch.Tensor], hidden: bool
) -> None:
    """A column more in queries and keys adds to the scores of all keys but the first ones, of which few are seen."""
    keys = torch.cat((drawn(1, batch=1)[0, 0], torch.zeros(KEYS, 1)), 1).bfloat16().detach()
    queries = torch.cat((drawn(1, QUERIES, 1, 1)[0, 0] / 8, torch.ones(QUERIES, 1)), 1).bfloat16().detach()
    values = drawn(1, seed=2, batch=1)[0, 0].detach()
    keys[SAMPLE:, -1] = shift(torch.zeros(()))
    seen = torch.ones(QUERIES, KEYS, dtype=torch.bool)
    seen[:, :SAMPLE] = not hidden
    seen[:, 0] = True
    if hidden:
        keys[0, -1] = keys[-1, -1]
    mixed, sums = stream([Stretch(queries, keys, values, seen.t().bfloat16())])
    scores = (queries.double() @ keys.double().t()).masked_fill(~seen, -torch.inf)
    assert apart(mixed, scores.softmax(-1) @ values.double()) < ROUNDED
    assert torch.allclose(sums.double(), scores.logsumexp(-1), rtol=0, atol=0.01)


def test_a_query_that_sees_nothing_gives_zeros_and_sends_none_back() -> None:
    queries, keys, values = (drawn(1, batch=1)[0, 0].detach() / 4 for _ in range(3))
    seen = torch.ones(KEYS, KEYS, dtype=torch.bfloat16).triu_()
    seen[:, 5] = 0
    stretch = Stretch(queries, keys, values, seen)
    mixed, sums = stream([stretch])
    exact = (queries.double() @ keys.double().t()).masked_fill(seen.t() == 0, -torch.inf).softmax(-1).nan_to_num()
    assert not mixed[5].any()
    assert apart(mixed, exact @ values.double()) < ROUNDED
    sinks = Gradients(torch.zeros(SIZE, KEYS), torch.zeros(KEYS, SIZE), torch.zeros(KEYS, SIZE))
    send_back([(stretch, sinks)], torch.ones_like(mixed), mixed, sums)
    assert not sinks.queries[:, 5].any()
    assert apart(sinks.values, exact.t() @ torch.ones(KEYS, SIZE).double()) < SENT_BACK


@pytest.mark.parametrize("failing", ["missing", "refused", "wrong", "wrong weights"])
def test_a_cpu_without_these_products_reads_blocks(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def product(*given: object) -> torch.Tensor:
        if failing == "refused":
            raise RuntimeError("could not create a primitive descriptor")
        return torch.zeros(1, 1)

    if failing == "missing":
        monkeypatch.setattr(torch.ops, "mkldnn", object())
    elif failing == "wrong weights":
        monkeypatch.setattr(Stretch, "weights", product)
    else:
        monkeypatch.setattr(streamed, "_times", product)
    streamed._products_work.cache_clear()
    found = streamed.streams(torch.ones(1, dtype=torch.bfloat16))
    streamed._products_work.cache_clear()
    assert not found


def test_what_is_no_number_stays_none() -> None:
    queries, keys, values = (drawn(1, batch=1)[0, 0].detach().clone() for _ in range(3))
    keys[-1, 0] = torch.nan
    assert stream([Stretch(queries, keys, values)])[0].isnan().all()


@pytest.mark.parametrize("method", [SelfExtend(3, 10), DualChunk(16)], ids=["self-extend", "dca"])
def test_an_extended_model_reads_long_prompts_so(
    method: SelfExtend | DualChunk, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = torch.randint(6, tiny.VOCABULARY, (1, 300), generator=torch.Generator().manual_seed(1))

    def logits(dtype: torch.dtype) -> torch.Tensor:
        model = method.apply(tiny.load("llama", dtype, max_position_embeddings=24))
        with torch.no_grad():
            return model.model(input_ids=ids).logits.double()

    exact, pieces = logits(torch.float64), logits(torch.bfloat16)
    monkeypatch.setattr(streamed_blocks, "STREAMED_KEYS", 1)
    found = logits(torch.bfloat16)
    assert not torch.equal(found, pieces)
    assert apart(found, exact) < 1.05 * apart(pieces, exact)


def test_all_layers_keep_what_their_blocks_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = SelfExtend(3, 10).apply(tiny.load("llama", torch.bfloat16, max_position_embeddings=24))
    right = tiny.example()
    many = tuple(EncodedQuestion(q.suffix_ids * 30, q.answer_ids) for q in right.questions)
    kept: list[object] = []
    apply = streamed_blocks.StreamedAttention.apply

    def noted(reading: object, *others: object) -> torch.Tensor:
        kept.append(reading)
        return apply(reading, *others)

    monkeypatch.setattr(streamed_blocks, "STREAMED_KEYS", 1)
    monkeypatch.setattr(delta_rotation.StreamedAttention, "apply", noted)
    with torch.no_grad():
        prefix = PrefixCache.prefill(model, right.prefix_ids * 10)  # causal
        read = len(kept)
        question_losses(model, many, prefix)  # masked
    layers = len(model.projections)
    assert read >= layers > 1
    assert len(kept) == read + layers
    for start in range(0, len(kept), layers):
        assert all(reading is kept[start] for reading in kept[start : start + layers])


@pytest.mark.parametrize("method", [None, SelfExtend(3, 10)], ids=["plain", "self-extend"])
def test_packed_questions_are_read_so(method: SelfExtend | None, monkeypatch: pytest.MonkeyPatch) -> None:
    right = tiny.example()
    many = tuple(EncodedQuestion(q.suffix_ids * 30, q.answer_ids) for q in right.questions)

    def behind(dtype: torch.dtype) -> tuple[LoadedModel, PrefixCache]:
        model = tiny.load("llama", dtype, max_position_embeddings=24 if method else 4096)
        model = method.apply(model) if method else model
        return model, PrefixCache.prefill(model, right.prefix_ids)

    with torch.no_grad():
        (wide, prefix), rounded = behind(torch.float64), behind(torch.bfloat16)
        exact = question_losses(wide, many, prefix)
        monkeypatch.setattr(streamed_blocks, "STREAMED_KEYS", 1)
        for other in (attention.BlockwiseAttention, delta_rotation.PiecewiseAttention):
            monkeypatch.setattr(other, "apply", lambda *given: pytest.fail("read in blocks"))
        assert apart(question_losses(rounded[0], many, rounded[1]), exact) < 0.005
