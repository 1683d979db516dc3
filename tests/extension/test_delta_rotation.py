# SPDX-License-Identifier: Apache-2.0
"""Both methods on every path a prompt can take: what the reference says, whatever was read before or beside it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import pytest
import reference
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import DynamicCache

import tiny
from seal_attention import prefix_rows
from seal_attention.adapters import Scales
from seal_attention.extension import piecewise
from seal_attention.extension.dual_chunk import DualChunk
from seal_attention.extension.self_extend import SelfExtend
from seal_attention.generation import answer_examples
from seal_attention.models import LoadedModel
from seal_attention.objective import accumulate_gradients
from seal_attention.packing import answer_logits, answer_logits_and_tails
from seal_attention.prefix_rows import PrefixRows
from seal_attention.prompts import EncodedQuestion, Example
from seal_attention.row_lines import Row
from seal_attention.shared_prefix import PrefixCache
from seal_attention.tuning.spreading import spread_positions

NATIVE = 24
LENGTH = 71
METHODS = {"self-extend": SelfExtend(3, 10), "dca": DualChunk(16)}
REFERENCES = {"self-extend": reference.self_extend(3, 10), "dca": reference.dual_chunk(NATIVE)}
FITTING = {"self-extend": 10, "dca": 15}  # tokens that the neighbour window, or one chunk, holds
BASE = {"rope_theta": 10000.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": NATIVE, **BASE}
FACTORS = {"short_factor": [1.0, 1.1, 1.2, 1.3], "long_factor": [1.0, 2.0, 5.0, 9.0]}
LONGROPE = {"rope_type": "longrope", "attention_factor": 1.2, **FACTORS, **BASE}
ORIGINAL = {length: {"original_max_position_embeddings": length} for length in (16, NATIVE)}
SHARPENED = {**LONGROPE, **ORIGINAL[16], "short_mscale": 1.1, "long_mscale": 1.3}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {  # families, and changes of their configuration
    "grouped heads": ("llama", {}),
    "part of the channels": ("phi", {}),
    "channels in pairs": ("cohere", {}),
    "linear": ("llama", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, **BASE}}),
    "yarn": ("llama", {"rope_parameters": YARN}),  # which scales attention too, as LongRoPE does
    "longrope, short": ("phi3", {"rope_parameters": {**LONGROPE, **ORIGINAL[NATIVE]}, **ORIGINAL[NATIVE]}),
    "longrope, long": ("phi3", {"rope_parameters": {**LONGROPE, **ORIGINAL[16]}, **ORIGINAL[16]}),
    "longrope, sharpened": ("mixtral", {"model_type": "phimoe", "rope_parameters": SHARPENED}),
}


@functools.cache
def extended(method: str, kind: str = "grouped heads") -> LoadedModel:
    """A tiny model with the method at work, only to be read."""
    return METHODS[method].apply(plain(kind))


def plain(kind: str = "grouped heads", dtype: torch.dtype = torch.float64) -> LoadedModel:
    """The model before that."""
    family, changes = KINDS[kind]
    return tiny.load(family, dtype, max_position_embeddings=NATIVE, head_dim=8, **changes)


def drawn_ids(rows: int = 1, length: int = LENGTH) -> torch.Tensor:
    """Some text, (rows, length)."""
    return torch.randint(6, tiny.VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))


def logits(model: LoadedModel, ids: torch.Tensor, **given: Any) -> torch.Tensor:
    """(rows, time, vocabulary), without a cache."""
    with torch.no_grad():
        return model.model(input_ids=ids, use_cache=False, **given).logits


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    """Each method's name."""
    return request.param


@pytest.fixture(autouse=True)
def _no_rounding() -> Iterator[None]:
    with tiny.Float64():
        yield


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of some 15 queries, so that their ends fall here and there."""
    monkeypatch.setattr(piecewise, "BLOCK_SCORES", 4 * LENGTH * 15)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_beyond_the_window_is_read_as_the_reference_does(
    method: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = logits(reference.attend_by(plain(kind), REFERENCES[method], monkeypatch), drawn_ids())
    given = logits(extended(method, kind), drawn_ids())
    assert torch.allclose(given, expected, rtol=0, atol=1e-12)
    assert (given - logits(plain(kind), drawn_ids())).abs().max() > 1e-2


@pytest.mark.parametrize("sizes", [(LENGTH - 4, 1, 1, 1, 1), (9, 30, 1, 31)], ids=["token by token", "in pieces"])
def test_what_is_read_behind_a_cache_equals_one_pass(method: str, sizes: tuple[int, ...]) -> None:
    model, ids = extended(method), drawn_ids(2)
    expected, cache = logits(model, ids), DynamicCache(config=model.model.config)
    with torch.no_grad():
        pieces = [model.run(piece, cache).logits for piece in ids.split(sizes, dim=1)]
    assert torch.allclose(torch.cat(pieces, 1), expected, rtol=0, atol=1e-12)


def test_a_row_padded_on_the_left_is_read_as_by_itself(method: str) -> None:
    model, ids = extended(method), drawn_ids(2)
    lengths = (LENGTH, LENGTH - 13)
    mask = torch.stack([torch.arange(LENGTH) >= LENGTH - length for length in lengths]).long()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache = DynamicCache(config=model.model.config)
    with torch.no_grad():
        for piece in (slice(0, 50), slice(50, 70), slice(70, LENGTH)):
            given = {"attention_mask": mask[:, : piece.stop], "position_ids": positions[:, piece]}
            last = model.run(ids[:, piece], cache, **given).logits[:, -1]
    for row, length in enumerate(lengths):
        assert torch.allclose(last[row], logits(model, ids[row : row + 1, -length:])[0, -1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("spread", [False, True])
def test_a_prefix_read_in_chunks_and_its_questions_in_one_row_equal_full_prompts(
    method: str, spread: bool, example: Example
) -> None:
    model = extended(method)
    positions = spread_positions(example, 300, "0") if spread else None
    prefix = PrefixCache.prefill(model, example.prefix_ids, positions, chunk=17)
    places = (len(example.prefix_ids), 40, len(example.prefix_ids) - 1)
    questions = [
        EncodedQuestion(question.suffix_ids, question.answer_ids, after=place)
        for question, place in zip(example.questions, places, strict=True)
    ]
    with torch.no_grad():
        found = answer_logits(model, questions, prefix)
    for rows, question, place in zip(found, questions, places, strict=True):
        ids = torch.tensor([[*example.prefix_ids[:place], *question.suffix_ids, *question.answer_ids]])
        expected = logits(model, ids, **given_positions(positions and positions[:place], ids))
        count = len(question.answer_ids)
        assert torch.allclose(rows, expected[0, -count - 1 : -1], rtol=0, atol=1e-12)


def given_positions(positions: tuple[int, ...] | None, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a full prompt's forward is told where its prefix is spread."""
    if not positions:
        return {}
    after = range(positions[-1] + 1, positions[-1] + 1 + ids.shape[1] - len(positions))
    # Without a mask, jumps would be read as packed texts.
    return {"position_ids": torch.tensor([[*positions, *after]]), "attention_mask": torch.ones_like(ids)}


def drawn_scales(model: LoadedModel) -> Scales:
    """SEAL-C around 1, in float64."""
    scales = Scales("seal-c", model.projections)
    generator = torch.Generator().manual_seed(7)
    for parameter in scales.values.values():
        parameter.data = 1 + 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return scales


@pytest.mark.parametrize("spread", [False, True])
def test_gradients_over_a_shared_prefix_equal_those_of_full_prompts(
    method: str, spread: bool, example: Example
) -> None:
    model = extended(method)
    positions = spread_positions(example, 300, "0") if spread else None
    scales = drawn_scales(model)
    with scales.attached(model):
        losses = []
        for question in example.questions:
            ids = torch.tensor([[*example.prompt_ids(question), *question.answer_ids]])
            rows = model.model(input_ids=ids, **given_positions(positions, ids)).logits
            rows = rows[0, -len(question.answer_ids) - 1 : -1]
            losses.append(functional.cross_entropy(rows, torch.tensor(question.answer_ids)))
        expected_loss = torch.stack(losses).mean()
        expected = torch.autograd.grad(expected_loss, list(scales.values.values()))
        for checkpoint in (False, True):
            loss = accumulate_gradients(model, example, batch=2, checkpoint=checkpoint, positions=positions)
            assert loss == pytest.approx(float(expected_loss.detach()), abs=1e-9)
            for parameter, gradient in zip(scales.values.values(), expected, strict=True):
                assert gradient.abs().max() > 1e-6
                assert torch.allclose(parameter.grad, gradient, rtol=0, atol=1e-9)
                parameter.grad = None


def test_gradients_are_those_of_the_reference(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for name, model in {"own": plain(), "reference": plain()}.items():
        if name == "own":
            METHODS[method].apply(model)
        else:
            reference.attend_by(model, REFERENCES[method], monkeypatch)
        scales = drawn_scales(model)
        with scales.attached(model):
            loss = model.model(input_ids=drawn_ids(), labels=drawn_ids(), use_cache=False).loss
        found[name] = torch.autograd.grad(loss, list(scales.values.values()))
    for own, other in zip(found["own"], found["reference"], strict=True):
        assert other.abs().max() > 1e-6
        assert torch.allclose(own, other, rtol=0, atol=1e-10)


def test_a_frozen_prefix_leaves_out_only_what_the_scales_do_to_the_prefix(method: str, example: Example) -> None:
    model = extended(method)
    scales = drawn_scales(model)
    gradients = {}
    with scales.attached(model):
        for frozen in (False, True):
            loss = accumulate_gradients(model, example, batch=2, frozen_prefix=frozen)
            gradients[frozen] = [parameter.grad.clone() for parameter in scales.values.values()], loss
            for parameter in scales.values.values():
                parameter.grad = None
    (exact, exact_loss), (frozen_ones, frozen_loss) = gradients[False], gradients[True]
    assert frozen_loss == pytest.approx(exact_loss, abs=1e-12)
    assert torch.allclose(frozen_ones[-1], exact[-1], rtol=0, atol=1e-12)
    assert not torch.allclose(frozen_ones[0], exact[0], rtol=1e-3, atol=0)


@pytest.mark.parametrize("way", ["apart", "in lines"])
def test_contexts_of_unequal_lengths_answered_together_are_answered_as_by_generate(
    method: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart: list[bool] = []
    fit = PrefixRows.fit
    monkeypatch.setattr(prefix_rows, "SLOTS", 2)
    monkeypatch.setattr(PrefixRows, "fit", lambda *given: apart.append(way == "apart" and fit(*given)) or apart[-1])
    model, limit = extended(method), 16  # so that a row's own first tokens come to be far from its last
    asked = [tiny.example(limit), tiny.along(limit)]
    prompts = [torch.tensor([one.prompt_ids(question)]) for one in asked for question in one.questions]
    given = {"do_sample": False, "max_new_tokens": limit, "eos_token_id": [1]}
    written = [model.model.generate(ids, attention_mask=torch.ones_like(ids), **given)[0] for ids in prompts]
    whole = [row[ids.shape[1] :].tolist() for row, ids in zip(written, prompts, strict=True)]
    stops = {1, whole[0][1], whole[1][1], whole[4][0]}  # so that some rows, and all of a line, end before others
    ends = [next((place for place, token in enumerate(ids, 1) if token in stops), limit) for ids in whole]
    assert len(set(ends)) > 1
    for draft in (False, True):
        answers = [answer.ids for _, some in answer_examples(model, asked, stops, draft=draft) for answer in some]
        assert answers == [tuple(ids[:end]) for ids, end in zip(whole, ends, strict=True)]
        assert apart[-1] == (way == "apart" and draft)


@pytest.mark.parametrize("spread", [False, True])
def test_rows_read_apart_give_the_logits_of_full_prompts(
    method: str, spread: bool, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, found = extended(method), []
    run = model.run
    monkeypatch.setattr(model, "run", lambda *given, **more: found.append(run(*given, **more)) or found[-1])
    positions = spread_positions(example, 300, "0") if spread else None
    prefix = PrefixCache.prefill(model, example.prefix_ids, positions)
    with torch.no_grad():
        _, tails = answer_logits_and_tails(model, example.questions, prefix)
        asked = zip(example.questions, tails, strict=True)
        rows = [Row(prefix, question.answer_ids[-1:], 9, tail) for question, tail in asked]
        assert PrefixRows.fit(model, rows)
        batch = PrefixRows(model, rows)
        texts = [[*example.prompt_ids(question), *question.answer_ids] for question in example.questions]
        tokens = batch.begin()
        for _ in range(9):
            for text, logit in zip(texts, found[-1].logits[0], strict=True):
                ids = torch.tensor([text])
                expected = logits(model, ids, **given_positions(positions, ids))[0, -1]
                assert torch.allclose(logit, expected, rtol=0, atol=1e-12)
            for text, token in zip(texts, tokens, strict=True):
                text.append(token)
            tokens = batch.step(list(enumerate(tokens)))


def test_a_spread_prefix_read_further_equals_one_read_at_once(method: str, example: Example) -> None:
    model, place = extended(method), len(example.prefix_ids) - 8
    positions = spread_positions(example, 300, "0")
    assert positions is not None
    ahead = range(positions[place - 1] + 1, positions[place - 1] + 1 + len(example.prefix_ids) - place)
    with torch.no_grad():
        begun = PrefixCache.prefill(model, example.prefix_ids[:place], positions[:place])
        found = begun.extended(model, example.prefix_ids[place:])
        whole = PrefixCache.prefill(model, example.prefix_ids, (*positions[:place], *ahead))
    for own, other in zip(found.tensors(), whole.tensors(), strict=True):
        assert torch.allclose(own, other, rtol=0, atol=1e-12)


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor made."""

    size = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run it and look."""
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.size = max(self.size, tensor.numel())
        return result


def test_no_tensor_grows_with_the_square_of_the_length(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piecewise, "BLOCK_SCORES", 2**15)
    model = extended(method)
    sizes = []
    for length in (256, 512):
        ids = drawn_ids(length=length)
        scales = drawn_scales(model)
        with scales.attached(model), Largest() as largest:
            model.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits.sum().backward()
        sizes.append(largest.size)
    assert sizes[1] <= 2.1 * sizes[0]
    assert sizes[1] < 512 * 512 / 4
