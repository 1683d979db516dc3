# SPDX-License-Identifier: Apache-2.0
"""Claims about LongRoPE: one set of factors for all prompts, so that what is cached is what one would compute anew."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from seal_attention import loading
from seal_attention.errors import UsageError
from seal_attention.extension import extended
from seal_attention.generation import answer_questions
from seal_attention.models import LoadedModel
from seal_attention.packing import answer_logits
from seal_attention.projections import find_output_projections
from seal_attention.prompts import Example, require_fit
from seal_attention.shared_prefix import PrefixCache

WINDOW, SHORT = 512, 24  # SHORT is exceeded by the example's prefix alone (42 tokens), WINDOW by none of its prompts
# Factors for all layers, for those of full attention alone, and sets that differ in how they sharpen attention.
FAMILIES = ("phi3", "gemma3_text", "phimoe")


def settings(family: str, original: int) -> dict[str, Any]:
    """A tiny family's configuration with LongRoPE on top of an original window."""
    count = 8 if family == "gemma3_text" else 4
    rope: dict[str, Any] = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": original}
    rope |= {"short_factor": [1 + place / 10 for place in range(count)]}
    rope |= {"long_factor": [1.0 + 2 * place for place in range(count)]}
    if family == "gemma3_text":
        rope = {"full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
    if family == "phimoe":
        rope |= {"short_mscale": 1.1, "long_mscale": 1.3}
        return {**tiny.FAMILIES["mixtral"], "model_type": "phimoe", "rope_parameters": rope}
    inside = {"original_max_position_embeddings": original} if family == "phi3" else {}
    return {**tiny.FAMILIES[family], **inside, "rope_parameters": rope}


def longrope(family: str, original: int) -> LoadedModel:
    """Such a model, loaded."""
    model = tiny.from_config(settings(family, original), torch.float64)
    return LoadedModel(family, model, tiny.tokenizer(), find_output_projections(model, family))


def cosines(model: LoadedModel, position: int) -> torch.Tensor:
    """By what a lone token at the position is turned, (turned channels / 2,)."""
    given = {"layer_type": "full_attention"} if model.name == "gemma3_text" else {}
    rotary = model.model.get_decoder().rotary_emb
    found = rotary(torch.empty(0, dtype=torch.float64), position_ids=torch.tensor([[position]]), **given)[0]
    return found[0, 0, : found.shape[-1] // 2]


@pytest.fixture(autouse=True)
def _no_rounding() -> Iterator[None]:
    with tiny.Float64():
        yield


def full(model: Any, example: Example) -> list[torch.Tensor]:
    """A model's logits at the answers of each whole prompt, read at once."""
    rows = []
    with torch.no_grad():
        for question in example.questions:
            ids = torch.tensor([[*example.prompt_ids(question), *question.answer_ids]])
            rows.append(model(input_ids=ids, use_cache=False).logits[0, -len(question.answer_ids) - 1 : -1])
    return rows


def apart(first: list[torch.Tensor], second: list[torch.Tensor]) -> float:
    """The largest gap between two lists of logits."""
    return max(float((one - other).abs().max()) for one, other in zip(first, second, strict=True))


def through_a_prefix(model: LoadedModel, example: Example, chunk: int | None) -> list[torch.Tensor]:
    """The same logits over a shared prefix."""
    with torch.no_grad():
        return answer_logits(model, example.questions, PrefixCache.prefill(model, example.prefix_ids, chunk=chunk))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("original", [SHORT, 47, WINDOW], ids=["longer", "longer from the questions on", "shorter"])
def test_a_shared_prefix_says_what_the_full_prompt_says(family: str, original: int, example: Example) -> None:
    model = longrope(family, original)
    assert len(example.prefix_ids) < 47 < example.longest_prompt
    expected = full(model.model, example)
    for chunk in (None, 17):
        assert apart(through_a_prefix(model, example, chunk), expected) < 1e-12
    half = PrefixCache.prefill(model, example.prefix_ids[:20]).extended(model, example.prefix_ids[20:], chunk=13)
    with torch.no_grad():
        assert apart(answer_logits(model, example.questions, half), expected) < 1e-12
    for question, answer in zip(example.questions, answer_questions(model, example, stops=[1]), strict=True):
        ids = torch.tensor([example.prompt_ids(question)])
        given = {"attention_mask": torch.ones_like(ids), "do_sample": False, "max_new_tokens": 6, "eos_token_id": 1}
        assert answer.ids == tuple(model.model.generate(ids, **given, use_cache=False)[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize("original", [SHORT, WINDOW])
def test_where_all_prompts_are_of_one_side_it_is_transformers_own_model(original: int, example: Example) -> None:
    own = tiny.from_config(settings("phi3", original), torch.float64)
    assert apart(full(longrope("phi3", original).model, example), full(own, example)) == 0


def test_what_transformers_own_model_reads_in_pieces_is_not_what_it_reads_at_once(example: Example) -> None:
    model = longrope("phi3", SHORT)
    model.model = tiny.from_config(settings("phi3", SHORT), torch.float64)  # nothing settled
    assert apart(through_a_prefix(model, example, chunk=17), full(model.model, example)) > 1
    assert apart(through_a_prefix(longrope("phi3", SHORT), example, chunk=17), full(model.model, example)) < 1e-12


@pytest.mark.parametrize("family", FAMILIES)
def test_the_window_in_use_decides_and_the_configuration_keeps_both(family: str) -> None:
    model = longrope(family, SHORT)
    before = model.model.config.to_dict()
    spread = math.sqrt(1 + math.log(WINDOW / SHORT) / math.log(SHORT))  # LongRoPE's own; the same for either set
    sharpness = {"short": 1.1, "long": 1.3} if family == "phimoe" else {"short": spread, "long": spread}
    for window, regime in ((WINDOW, "long"), (SHORT, "short"), (SHORT + 1, "long")):
        model.hold_to(window)
        for position in (3, 300):  # on either side of the original window
            found = cosines(model, position)
            place = torch.arange(len(found))
            factors = 1 + place / 10 if regime == "short" else 1.0 + 2 * place
            expected = (position / factors / 1e4 ** (place / len(found))).cos() * sharpness[regime]
            torch.testing.assert_close(found, expected.double(), rtol=0, atol=1e-4)
    assert model.model.config.to_dict() == before


def test_a_folder_is_loaded_so_and_the_window_option_holds_it_down(tmp_path: Path, example: Example) -> None:
    folder = tiny.save("phi3", tmp_path, torch.float64, **settings("phi3", 83))
    model = loading.load(str(folder), dtype="float64", device="cpu")
    own = tiny.from_config(settings("phi3", 83), torch.float64)
    assert apart(full(model.model, example), full(own, example)) > 1  # its window is longer: all prompts by long ones
    held = extended(model, None, 83)
    assert held.window == 83
    require_fit(example, held.window)
    assert apart(full(held.model, example), full(own, example)) < 1e-12
    with pytest.raises(UsageError, match="carries longrope scaling"):
        extended(held, "ntk:4")
