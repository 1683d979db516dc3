# SPDX-License-Identifier: Apache-2.0
"""Claims about rotary scaling: frequencies are the closed forms, and what is cached is what one would compute anew."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

import tiny
from seal_attention.errors import UsageError
from seal_attention.extension import extended
from seal_attention.extension.rope import rotary_embeddings
from seal_attention.generation import answer_questions
from seal_attention.models import LoadedModel
from seal_attention.packing import answer_logits
from seal_attention.prompts import Example, require_fit
from seal_attention.shared_prefix import PrefixCache

METHODS = ("linear:4", "ntk:4", "dynamic-ntk:4", "yarn:4")
SHORT = 32  # a window that the example's prompts exceed
# Turned channels of a head and the base: whole heads, a half of each, and full attention beside sliding.
TURNED = {"llama": (8, 1e4), "stablelm": (4, 1e4), "gemma3_text": (16, 1e6)}


def frequencies(model: LoadedModel) -> torch.Tensor:
    """What full attention turns by, radians a position."""
    (module,) = rotary_embeddings(model).values()
    buffers = dict(module.named_buffers())
    return buffers.get("full_attention_inv_freq", buffers.get("inv_freq"))


def plain(theta: float, rotated: int) -> list[float]:
    """RoPE's own frequencies: theta ^ (-2 i / d)."""
    return [theta ** (-2 * i / rotated) for i in range(rotated // 2)]


@pytest.mark.parametrize("family", TURNED)
def test_frequencies_are_the_closed_forms(family: str) -> None:
    rotated, theta = TURNED[family]
    own = plain(theta, rotated)
    stretch = rotated / (rotated - 2)
    wanted = {
        "plain:4": own,
        "linear:4": [each / 4 for each in own],
        "ntk:4": plain(theta * 4**stretch, rotated),
        "dynamic-ntk:4": plain(theta * 13**stretch, rotated),  # 4 * 4 - (4 - 1): at four times the window
        "yarn:4": yarn(own, theta, rotated, factor=4, window=512),
    }
    for extend, expected in wanted.items():
        model = extended(tiny.load(family), extend)
        torch.testing.assert_close(frequencies(model).double(), torch.tensor(expected).double(), rtol=1e-6, atol=0)
        assert (model.native_window, model.window, model.extension) == (512, 2048, extend)
    ntk = wanted["ntk:4"]
    assert (ntk[0], ntk[-1]) == pytest.approx((own[0], own[-1] / 4))  # what the base is chosen for


def yarn(own: list[float], theta: float, rotated: int, factor: float, window: int) -> list[float]:
    """YaRN's: divided where a window holds at most one turn, kept where it holds 32 or more, between them a ramp."""

    def index_of(turns: float) -> float:
        return rotated * math.log(window / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = max(math.floor(index_of(32)), 0), min(math.ceil(index_of(1)), rotated - 1)
    divided = [min(max((i - low) / (high - low), 0), 1) for i in range(len(own))]
    return [each / factor * share + each * (1 - share) for each, share in zip(own, divided, strict=True)]


def test_dynamic_ntk_is_that_of_transformers_at_the_full_length_whatever_the_prompt() -> None:
    model = extended(tiny.load("llama"), "dynamic-ntk:4")
    config = tiny.load("llama").model.config
    config.rope_parameters |= {"rope_type": "dynamic", "factor": 4.0}
    expected, _ = ROPE_INIT_FUNCTIONS["dynamic"](config, seq_len=2048)
    torch.testing.assert_close(frequencies(model), expected)
    model.model(input_ids=torch.ones(1, 600, dtype=torch.long))  # beyond the native window
    torch.testing.assert_close(frequencies(model), expected)


def test_yarn_sharpens_attention_and_sliding_layers_keep_their_positions() -> None:
    (module,) = rotary_embeddings(extended(tiny.load("llama"), "yarn:4")).values()
    assert module.attention_scaling == pytest.approx(0.1 * math.log(4) + 1)
    (module,) = rotary_embeddings(extended(tiny.load("gemma3_text"), "ntk:4")).values()
    torch.testing.assert_close(module.sliding_attention_inv_freq, torch.tensor(plain(1e4, 16)))


def test_linear_composes_with_linear_and_ntk_with_linear() -> None:
    def interpolated() -> LoadedModel:
        return tiny.load("llama", rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4})

    own = torch.tensor(plain(1e4, 8))
    torch.testing.assert_close(frequencies(extended(interpolated(), "linear:4")), own / 8)
    torch.testing.assert_close(
        frequencies(extended(interpolated(), "ntk:4")), torch.tensor(plain(1e4 * 4 ** (8 / 6), 8)) / 2
    )


@pytest.fixture
def _no_rounding() -> Iterator[None]:
    with tiny.Float64():
        yield


@pytest.mark.usefixtures("_no_rounding")
@pytest.mark.parametrize(("family", "extend"), [*(("llama", method) for method in METHODS), ("gemma3_text", "yarn:4")])
def test_a_shared_prefix_says_what_the_full_prompt_says_beyond_the_window(
    family: str, extend: str, example: Example
) -> None:
    model = extended(tiny.load(family, torch.float64, max_position_embeddings=SHORT), extend)
    assert example.longest_prompt > 2 * SHORT
    require_fit(example, model.window)
    with torch.no_grad():
        chunked = PrefixCache.prefill(model, example.prefix_ids, chunk=17)
        shared = answer_logits(model, example.questions, chunked)
        for question, logits in zip(example.questions, shared, strict=True):
            ids = torch.tensor([[*example.prompt_ids(question), *question.answer_ids]])
            whole = model.model(input_ids=ids, use_cache=False).logits[0, -len(question.answer_ids) - 1 : -1]
            torch.testing.assert_close(logits, whole, rtol=1e-9, atol=1e-9)
    answers = answer_questions(model, example, stops=[1])
    for question, answer in zip(example.questions, answers, strict=True):
        ids = torch.tensor([example.prompt_ids(question)])
        uncached = model.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=6, eos_token_id=1, use_cache=False
        )
        assert answer.ids == tuple(uncached[0, ids.shape[1] :].tolist())


def test_a_window_held_down_is_what_prompts_must_fit_and_what_is_scaled_from(example: Example) -> None:
    held = extended(tiny.load("llama"), None, 64)
    assert (held.native_window, held.window, held.extension) == (64, 64, None)
    with pytest.raises(UsageError, match=r"window is 64; .* --extend"):
        require_fit(example, held.window)
    wider = extended(tiny.load("llama"), "yarn:2.5", 64)
    assert (wider.native_window, wider.window) == (64, 160)
    config = wider.model.config
    assert config.max_position_embeddings == 160
    assert config.rope_parameters["original_max_position_embeddings"] == 64


REFUSED = {
    "learnt positions": ("gpt2", {}, "ntk:4", None, "no rotary positions"),
    "alibi": ("falcon-alibi", {}, "ntk:4", None, "no rotary positions"),
    "no window stated": ("bloom", {}, "ntk:4", None, "does not say how long"),
    "scaled already": ("gpt_oss", {}, "linear:4", None, r"carries yarn scaling .* \(only on default or linear\)"),
    "one frequency": ("gpt_neox", {}, "ntk:4", None, "turns only 2 channels .* take linear:4"),
    "a family that takes no such type": ("phi3", {}, "yarn:4", None, "its configuration refuses"),
    "no head size": ("mixtral", {}, "yarn:4", None, '"head_dim": 8'),
    "held up": ("llama", {}, None, 1024, "more than the 512 of tiny llama"),
    "unknown": ("llama", {}, "stretch:4", None, "unknown --extend 'stretch:4'; choose one of linear:4"),
    "no factor": ("llama", {}, "ntk", None, "needs a factor above 1"),
    "self-extend without settings": ("llama", {}, "self-extend", None, "needs the longest prompt .* self-extend:32k"),
    "no longer than it is": ("llama", {}, "self-extend:group=1,window=8", None, "512 tokens, no more than the 512"),
    "a target within the window": ("llama", {}, "self-extend:256", None, "fit into the native window of 512"),
    "a factor of one": ("llama", {}, "yarn:1", None, "needs a factor above 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_extended_is_refused_with_the_reason_and_stays_as_it_was(case: str) -> None:
    family, changes, extend, native_window, sentence = REFUSED[case]
    model = tiny.load(family, **changes)
    before = model.model.config.to_dict()
    with pytest.raises(UsageError, match=sentence):
        extended(model, extend, native_window)
    assert model.model.config.to_dict() == before
