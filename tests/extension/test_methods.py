# SPDX-License-Identifier: Apache-2.0
"""What both methods leave alone and whom they refuse; how far self-extend reaches, and which sizes it suggests."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache, StaticCache

import tiny
from seal_attention.errors import UsageError
from seal_attention.extension.dual_chunk import Chunks, DualChunk
from seal_attention.extension.self_extend import SelfExtend, suggest
from seal_attention.models import LoadedModel

NATIVE = 24
METHODS = {"self-extend": (SelfExtend(3, 10), 10), "dca": (DualChunk(16), 15)}  # and the tokens that are all near
ROPE = {"rope_theta": 10000.0}


def logits(model: LoadedModel, length: int) -> torch.Tensor:
    """What the model says to some tokens, (1, length, vocabulary)."""
    ids = torch.randint(6, tiny.VOCABULARY, (1, length), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model.model(input_ids=ids).logits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_a_prompt_that_fits_is_read_bit_for_bit_as_without(method: str, dtype: torch.dtype) -> None:
    extension, near = METHODS[method]
    model = tiny.load("llama", dtype, max_position_embeddings=NATIVE)
    fitting, beyond = logits(model, near), logits(model, near + 1)
    assert extension.apply(model) is model
    assert torch.equal(logits(model, near), fitting)
    assert not torch.equal(logits(model, near + 1)[:, -1], beyond[:, -1])


@pytest.mark.parametrize("method", METHODS)
def test_bfloat16_is_read_almost_as_exactly_as_without(method: str) -> None:
    changes = {"max_position_embeddings": NATIVE}
    apart = {}
    for name in ("plain", method):
        models = [tiny.load("llama", dtype, **changes) for dtype in (torch.float64, torch.bfloat16)]
        if name == method:
            models = [METHODS[method][0].apply(model) for model in models]
        exact, rounded = (logits(model, 90).double() for model in models)
        apart[name] = float((exact - rounded).norm() / exact.norm())
    assert apart[method] < 1.5 * apart["plain"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("family", "changes", "words"),
    [
        ("gemma3_text", {}, "sliding window alone"),
        ("gpt2", {}, "has no rotary positions"),
        ("falcon-alibi", {}, "has no rotary positions"),
        ("falcon-grouped", {}, "attention in code of its own"),
        ("stablelm", {}, "is told no positions"),
        ("deepseek_v3", {}, "changes its keys after turning them"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, **ROPE}}, "has dynamic rotary positions"),
    ],
)
def test_a_model_that_it_does_not_fit_is_refused_and_left_as_it_was(
    method: str, family: str, changes: dict[str, Any], words: str
) -> None:
    model = tiny.load(family, **changes)
    before = logits(model, 20)
    with pytest.raises(UsageError, match=words):
        METHODS[method][0].apply(model)
    assert torch.equal(logits(model, 20), before)


@pytest.mark.parametrize("method", METHODS)
def test_a_cache_of_fixed_size_and_a_second_extension_are_refused(method: str) -> None:
    model = METHODS[method][0].apply(tiny.load("llama"))
    cache = StaticCache(config=model.model.config, max_cache_len=64)
    with pytest.raises(UsageError, match="needs a cache that grows, not a StaticCache"):
        model.run(torch.arange(40)[None], cache)
    with pytest.raises(UsageError, match="is extended already"):
        SelfExtend(3, 10).apply(model)


def test_a_neighbour_window_as_wide_as_the_models_own_is_refused() -> None:
    with pytest.raises(UsageError, match=r"leaves nothing of the 512 positions .* give a smaller one, such as 128"):
        SelfExtend(4, 512).apply(tiny.load("llama"))
    with pytest.raises(UsageError, match="at least 1, not 0 and 8"):
        SelfExtend(0, 8)


@pytest.mark.parametrize(("group", "window", "native"), [(6, 1024, 4096), (4, 16, 24), (3, 10, 24)])
def test_no_distance_within_the_reach_is_one_that_the_model_has_not_seen(group: int, window: int, native: int) -> None:
    method = SelfExtend(group, window)
    reach = method.reach(native)
    for last, seen in ((reach - 1, True), (reach, False)):
        queries, keys = torch.tensor([last]), torch.tensor([0])
        far = int(method.far_queries(queries)[0] - method.far_keys(keys))
        assert (far < native) == seen
    assert SelfExtend(6, 1024).reach(4096) == 19452  # the paper's model; 19,456 by its formula with a fraction


def test_a_distance_never_falls_where_near_keys_end_and_groups_begin() -> None:
    method, queries = SelfExtend(3, 10), torch.arange(60)
    far = method.far_queries(queries)[0][:, None] - method.far_keys(queries)[None]
    distance = queries[:, None] - queries[None]
    met = torch.where(method.part(queries[:, None], queries[None]).bool(), far, distance)
    assert (met[:, 1:] <= met[:, :-1]).all()
    assert (met[distance == 10] - 9).max() <= 2


@pytest.mark.parametrize(("target", "native"), [(16384, 4096), (32768, 8192), (8192, 2048), (9000, 8192)])
def test_the_suggested_sizes_keep_to_two_thirds_of_the_window(target: int, native: int) -> None:
    found = suggest(target, native)
    farthest = int(found.far_queries(torch.tensor([target - 1]))[0])
    assert farthest <= native * 2 // 3
    assert found.reach(native) >= target
    smaller = SelfExtend(max(1, found.group - 1), found.window)
    assert int(smaller.far_queries(torch.tensor([target - 1]))[0]) >= min(farthest, native * 2 // 3)


def test_a_target_that_needs_no_extension_or_too_large_groups_is_refused() -> None:
    with pytest.raises(UsageError, match="4,000 tokens fit into the native window of 8,192; leave --extend out"):
        suggest(4000, 8192)
    with pytest.raises(UsageError, match=r"groups of 586 would be needed, .* the most is 110,208"):
        suggest(1_000_000, 4096)


def test_chunks_are_as_long_as_chunkllamas() -> None:
    chunks = Chunks.of(4096)
    assert (chunks.size, chunks.length) == (3072, 2560)
    queries, keys = torch.tensor([2560 + 100, 2560 + 600]), torch.tensor([2559, 0])
    successive, inter = chunks.far_queries(queries)
    assert (successive[:, None] - chunks.far_keys(keys)).tolist() == [[101, 2660], [513, 3072]]
    assert inter.tolist() == [3072, 3072]
    assert DualChunk(4).reach(4096) == 16384


def test_a_cache_holds_the_ordinary_keys() -> None:
    ids = torch.arange(6, 76)[None]
    held = []
    for extended in (False, True):
        model = tiny.load("llama", max_position_embeddings=NATIVE)
        if extended:
            SelfExtend(3, 10).apply(model)
        cache = DynamicCache(config=model.model.config)
        model.run(ids, cache)
        held.append(cache.layers[0].keys)
    assert torch.equal(*held)
