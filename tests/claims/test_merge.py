# SPDX-License-Identifier: Apache-2.0
"""Claims about merging: merged = adapted, all else byte-identical, and what can't be merged is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from adapting import logits, randomised
from seal_attention import adapters, loading
from seal_attention.adapters import WEIGHTS_FILE
from seal_attention.errors import UsageError
from seal_attention.export.merge import merge, verify


def prepared(tmp_path: Path, family: str, method: str, dtype: torch.dtype = torch.float32) -> tuple[Path, Path]:
    """A model folder and an adapter folder for it."""
    folder = tiny.save(family, tmp_path / "base", dtype)
    model = loading.load(str(folder), dtype="float32", device="cpu")
    adapters.save(randomised(method, model), tmp_path / "adapter", model, {})
    return folder, tmp_path / "adapter"


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "falcon-grouped", "mixtral"])
@pytest.mark.parametrize("method", ["seal-h", "seal-c"])
def test_merged_equals_adapted(tmp_path: Path, family: str, method: str) -> None:
    folder, adapter = prepared(tmp_path, family, method)
    base = loading.load(str(folder), dtype="float32", device="cpu")
    unadapted = logits(base)
    merge(str(folder), adapter, tmp_path / "merged")
    merged = loading.load(str(tmp_path / "merged"), dtype="float32", device="cpu")
    applied = adapters.load(adapter, base)
    with applied.attached(base):
        torch.testing.assert_close(logits(merged), logits(base), rtol=1e-4, atol=1e-4)
    assert (logits(merged) - unadapted).abs().max() > 1e-2
    measured = verify(base, applied, merged, [tiny.sample()])
    assert measured["largest_logit_gap"] < 1e-3
    assert measured["greedy_agreement"] == 1.0


def test_a_model_that_sees_is_merged_by_the_older_and_the_newer_names_of_its_tensors(tmp_path: Path) -> None:
    folder, adapter = prepared(tmp_path, "gemma3-with-vision", "seal-c", torch.float64)
    file, older, newer = folder / "model.safetensors", "language_model.model.", "model.language_model."
    changed = merge(str(folder), adapter, tmp_path / "merged")
    assert changed == [f"{older}layers.{layer}.self_attn.o_proj.weight" for layer in (0, 1)]
    before, after = load_file(file), load_file(tmp_path / "merged" / "model.safetensors")
    assert {name for name in before if not torch.equal(before[name], after[name])} == set(changed)
    base, merged = (loading.load(str(path), dtype="float64", device="cpu") for path in (folder, tmp_path / "merged"))
    applied = adapters.load(adapter, base)
    with tiny.Float64():
        unadapted = logits(base)
        with applied.attached(base):
            torch.testing.assert_close(logits(merged), logits(base), rtol=0, atol=1e-12)
        assert (logits(merged) - unadapted).abs().max() > 1e-2
        assert verify(base, applied, merged, [tiny.sample()])["greedy_agreement"] == 1.0
    save_file({name.replace(older, newer): tensor for name, tensor in before.items()}, file)
    for name in merge(str(folder), adapter, tmp_path / "again"):
        assert name.startswith(newer)
        again = load_file(tmp_path / "again" / "model.safetensors")[name]
        assert torch.equal(again, after[name.replace(newer, older)])
    save_file({name.replace(older, "text."): tensor for name, tensor in before.items()}, file)
    with pytest.raises(UsageError, match=rf"has 0 tensors for {newer}layers.0.self_attn.o_proj.weight"):
        merge(str(folder), adapter, tmp_path / "foreign")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_only_the_output_projections_change_and_they_by_one_rounding(tmp_path: Path, dtype: torch.dtype) -> None:
    folder, adapter = prepared(tmp_path, "llama", "seal-c", dtype)
    changed = merge(str(folder), adapter, tmp_path / "merged")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "merged" / "model.safetensors")
    vectors = load_file(adapter / WEIGHTS_FILE)
    assert set(changed) == {name for name in before if "o_proj" in name}
    for name, tensor in before.items():
        if name in changed:
            scale = vectors[f"base_model.model.{name.removesuffix('.weight')}.ia3_l"]
            assert torch.equal(after[name], (tensor.float() * scale).to(dtype))
        else:
            assert torch.equal(after[name].view(torch.uint8), tensor.view(torch.uint8))
    for name in (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "generation_config.json",
        "chat_template.jinja",
    ):
        assert (tmp_path / "merged" / name).read_bytes() == (folder / name).read_bytes()


def test_a_sharded_model_keeps_its_shards_and_index(tmp_path: Path) -> None:
    folder, adapter = prepared(tmp_path, "llama", "seal-h")
    model = loading.load(str(folder), dtype="float32", device="cpu").model
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    merge(str(folder), adapter, tmp_path / "merged")
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(shards) > 1
    assert sorted(path.name for path in (tmp_path / "merged").glob("*.safetensors")) == shards
    merged = loading.load(str(tmp_path / "merged"), dtype="float32", device="cpu")
    base = loading.load(str(folder), dtype="float32", device="cpu")
    with adapters.load(adapter, base).attached(base):
        torch.testing.assert_close(logits(merged), logits(base), rtol=1e-4, atol=1e-4)


def test_a_second_merge_of_the_same_adapter_is_refused_naming_both(tmp_path: Path) -> None:
    folder, adapter = prepared(tmp_path, "llama", "seal-h")
    merge(str(folder), adapter, tmp_path / "merged")
    with pytest.raises(UsageError, match=rf"{adapter} is merged into '{tmp_path / 'merged'}' already"):
        merge(str(tmp_path / "merged"), adapter, tmp_path / "twice")
    (tmp_path / "merged" / "seal_merged.json").unlink()  # even without its record, the weights tell
    with pytest.raises(UsageError, match="was made for"):
        merge(str(tmp_path / "merged"), adapter, tmp_path / "twice")
    assert not (tmp_path / "twice").exists()


def test_what_cannot_be_merged_is_refused_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder, adapter = prepared(tmp_path, "llama", "seal-h")
    other = tiny.save("llama", tmp_path / "other", seed=1)
    with pytest.raises(UsageError, match=rf"made for '{folder}', not for '{other}'"):
        merge(str(other), adapter, tmp_path / "merged")
    tensors = load_file(adapter / WEIGHTS_FILE)
    next(iter(tensors.values()))[:] = float("inf")
    save_file(tensors, adapter / WEIGHTS_FILE)
    with pytest.raises(UsageError, match="not a finite number"):
        merge(str(folder), adapter, tmp_path / "merged")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "bitsandbytes"}}))
    with pytest.raises(UsageError, match=r"quantised \(bitsandbytes\)"):
        merge(str(folder), adapter, tmp_path / "merged")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "base", "other"]
