# SPDX-License-Identifier: Apache-2.0
"""Loading a model by any kind of name, or the sentence that says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

import tiny
from seal_attention import loading
from seal_attention.attention import BLOCKWISE
from seal_attention.errors import UsageError


@pytest.mark.parametrize(
    ("name", "chosen"),
    [("llama", BLOCKWISE), ("falcon-grouped", "sdpa"), ("gemma2", "eager"), ("mpt", "eager"), ("bloom", "eager")],
)
def test_a_folder_loads_with_the_attention_its_family_has(name: str, chosen: str, tmp_path: Path) -> None:
    model = loading.load(str(tiny.save(name, tmp_path)), dtype="float32", device="cpu")
    assert model.model.config._attn_implementation == chosen
    assert not model.model.training
    assert not any(parameter.requires_grad for parameter in model.model.parameters())
    assert len(model.projections) == 2


def test_a_skeleton_has_the_projections_of_the_model_and_no_weights(model_folder: Path) -> None:
    full, bare = loading.load(str(model_folder), device="cpu"), loading.skeleton("bare", model_folder)
    shapes = [[(p.name, p.heads, p.head_size) for p in loaded.projections] for loaded in (full, bare)]
    assert shapes[0] == shapes[1]
    assert {parameter.device.type for parameter in bare.model.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"dtype": "int3"}, "unknown --dtype 'int3'; choose auto, float32"),
        ({"device": "abacus"}, "--device 'abacus' can't be used here .* try --device cpu"),
        ({"attention": "telepathy"}, "can't load model .*telepathy"),
    ],
)
def test_a_setting_that_does_not_exist_is_named(settings: dict[str, str], sentence: str, model_folder: Path) -> None:
    with pytest.raises(UsageError, match=sentence):
        loading.load(str(model_folder), **settings)


def test_a_name_that_is_no_model_is_refused_with_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    for name, sentence in {
        str(tmp_path): "is not a model",
        str(tmp_path / "adapter"): "is an adapter: pass it with --adapter",
        str(tmp_path / "missing.gguf"): "there is no GGUF file",
        "nobody/no-such-model": "can't load model 'nobody/no-such-model' .* give a hub id, a model folder",
    }.items():
        for loader in (loading.load, loading.load_tokenizer):
            with pytest.raises(UsageError, match=sentence) as refusal:
                loader(name)
            assert "\n" not in str(refusal.value)
