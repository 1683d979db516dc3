# SPDX-License-Identifier: Apache-2.0
"""What a loaded model says of itself: where its attention heads leave, its layers, its fingerprint."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

import tiny
from seal_attention.errors import SealError, UsageError
from seal_attention.models import LoadedModel, attention_linears
from seal_attention.projections import OutputProjection, find_output_projections, same_fingerprint
from seal_attention.prompts import Example
from seal_attention.shared_prefix import PrefixCache

# What the configurations in tiny.py ask for where it is not two key-value heads of size 8.
KEY_VALUE_HEADS = {"falcon-one-key-head": 1, "deepseek_v3": 4}
KEY_VALUE_HEADS |= dict.fromkeys(("gpt2", "gpt_neo", "gpt_neox", "falcon-alibi", "opt", "mpt", "gptj", "bloom"), 4)
WINDOWS = {"bloom": None, "gpt_neo": 2048}
CACHED_OTHERWISE = {"falcon-grouped", "deepseek_v3"}  # a copy for every query head; one compressed head for all
SIZE_16 = {"qwen3", "gemma2", "gemma3_text", "gemma3-with-vision", "gemma4_text", "gpt_oss", "qwen3_moe"}


def test_each_layer_has_one_projection_in_layer_order_with_its_heads(family: str, family_model: LoadedModel) -> None:
    found = family_model.projections
    layers = family_model.model.config.get_text_config(decoder=True).num_hidden_layers
    assert [projection.layer for projection in found] == list(range(layers))
    assert {(p.heads, p.head_size) for p in found} == {(4, 16 if family in SIZE_16 else 8)}
    assert family_model.key_value_heads == KEY_VALUE_HEADS.get(family, 2)
    assert family_model.window == WINDOWS.get(family, 512)


def test_a_projection_takes_what_its_heads_put_out(family: str, family_model: LoadedModel, example: Example) -> None:
    seen: dict[str, int] = {}

    def note(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return module.register_forward_pre_hook(lambda _, inputs: seen.update({name: inputs[0].shape[-1]}))

    handles = [note(projection.name, projection.module) for projection in family_model.projections]
    with torch.no_grad():
        values = PrefixCache.prefill(family_model, example.prefix_ids).tensors()[1]
    for handle in handles:
        handle.remove()
    assert seen == {projection.name: projection.channels for projection in family_model.projections}
    if family not in CACHED_OTHERWISE:
        assert values.shape[1] == family_model.key_value_heads
        assert values.shape[-1] == family_model.projections[0].head_size


def test_weights_read_as_out_by_in_and_write_through(family: str) -> None:
    model = tiny.load(family)
    projection = model.projections[0]
    hidden = model.model.config.get_text_config(decoder=True).hidden_size
    assert projection.weight.shape == (hidden, projection.channels)
    projection.weight[0, 1] = 7.0
    assert 7.0 in projection.module.weight


def test_a_transposed_projection_is_measured_by_its_input() -> None:
    model = tiny.load("gpt2")
    model.model.transformer.h[0].attn.c_proj = Conv1D(16, 24)  # 16 out, 24 in
    first = find_output_projections(model.model, "odd")[0]
    assert (first.heads, first.head_size, first.weight.shape) == (4, 6, (16, 24))


def test_every_layer_between_the_projections_is_walked(family_model: LoadedModel) -> None:
    layers = family_model.decoder_layers
    assert len(layers) == len(family_model.projections)
    for layer, projection in zip(layers, family_model.projections, strict=True):
        assert projection.module in list(layer.modules())


def test_a_token_is_multiplied_with_all_but_the_embeddings_tied_or_not() -> None:
    for tied in (True, False):
        model = tiny.load("llama", tie_word_embeddings=tied)
        named = dict(model.model.named_parameters())
        assert ("lm_head.weight" in named) is not tied
        layers = sum(weight.numel() for name, weight in named.items() if ".layers." in name)
        assert model.parameters_a_token == layers + named["model.norm.weight"].numel()


@pytest.mark.parametrize("family", ["qwen3_moe", "gpt_oss", "deepseek_v3"])
def test_a_token_is_multiplied_with_the_experts_that_it_is_sent_to(family: str) -> None:
    few, many = (tiny.load(family, num_experts_per_tok=count) for count in (1, 3))
    layers = [layer.mlp.experts for layer in few.decoder_layers if hasattr(layer.mlp, "experts")]
    one_each = sum(weight[0].numel() for experts in layers for weight in experts.parameters())
    assert many.parameters_a_token - few.parameters_a_token == 2 * one_each > 0


def test_a_vision_tower_is_left_alone() -> None:
    model = tiny.shared("gemma3-with-vision")
    assert any("vision" in name and name.endswith("out_proj") for name, _ in model.model.named_modules())
    assert all("vision" not in projection.name for projection in model.projections)


def test_linears_of_the_attention_are_named_for_low_rank_methods() -> None:
    names = attention_linears(tiny.shared("llama"))
    assert [name.rpartition(".")[2] for name in names] == 2 * ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert {name.rpartition(".")[2] for name in attention_linears(tiny.shared("gpt2"))} == {"c_attn", "c_proj"}


def test_a_model_without_attention_is_refused_with_what_was_looked_for() -> None:
    model = tiny.from_config(tiny.NO_ATTENTION, torch.float32)
    sentence = r"tiny mamba \(MambaForCausalLM\) has no attention output projection"
    with pytest.raises(UsageError, match=sentence) as refusal:
        find_output_projections(model, "tiny mamba")
    assert "o_proj, out_proj, dense, c_proj" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_heads_that_do_not_divide_the_projection_are_refused_with_both_numbers(model: LoadedModel) -> None:
    model.model.config.num_attention_heads = 5
    with pytest.raises(UsageError, match="takes 32 channels, which 5 heads do not divide"):
        find_output_projections(model.model, "odd")


def test_attention_outside_a_numbered_stack_can_not_be_walked(model: LoadedModel) -> None:
    lone = OutputProjection("attention.o_proj", 0, nn.Linear(8, 8), 2, 4)
    with pytest.raises(SealError, match="outside a numbered stack"):
        LoadedModel("flat", model.model, model.tokenizer, [lone]).decoder_layers  # noqa: B018


def test_fingerprints_survive_a_change_of_dtype_and_tell_other_weights_and_shapes(model: LoadedModel) -> None:
    own = model.fingerprint()
    assert same_fingerprint(own, tiny.load("llama", torch.bfloat16).fingerprint())
    assert not same_fingerprint(own, tiny.load("llama", seed=1).fingerprint())
    assert not same_fingerprint(own, tiny.load("mistral").fingerprint())
    assert not same_fingerprint(own, {**own, "shapes": [(2, 16)]})
