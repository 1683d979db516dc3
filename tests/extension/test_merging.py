# SPDX-License-Identifier: Apache-2.0
"""Claims about extended models on disk: merged and read again they are the extended model; adapters ask for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tiny
from adapting import logits, randomised
from seal_attention import adapters, loading, models
from seal_attention.errors import UsageError
from seal_attention.export.merge import RECORD, merge, verify
from seal_attention.extension import extended

NATIVE = 64


def prepared(tmp_path: Path, family: str, extend: str) -> tuple[Path, models.LoadedModel, adapters.Adapter]:
    """A model folder, the model extended from a window held down, and an adapter tuned under that, in `adapter`."""
    folder = tiny.save(family, tmp_path / "base")
    model = extended(loading.load(str(folder), dtype="float32", device="cpu"), extend, NATIVE)
    adapter = randomised("seal-c", model)
    adapters.save(adapter, tmp_path / "adapter", model, {})
    return folder, model, adapter


@pytest.mark.parametrize(
    ("family", "extend"),
    [
        ("llama", "linear:4"),
        ("llama", "ntk:4"),
        ("llama", "yarn:4"),
        ("gemma3_text", "dynamic-ntk:4"),
        ("gemma3-with-vision", "linear:4"),  # the text model's configuration inside the whole one's
    ],
)
def test_merged_and_read_again_it_is_the_extended_model(tmp_path: Path, family: str, extend: str) -> None:
    folder, model, adapter = prepared(tmp_path, family, extend)
    merge(str(folder), tmp_path / "adapter", tmp_path / "merged", extend=extend, native_window=NATIVE)
    merged = loading.load(str(tmp_path / "merged"), dtype="float32", device="cpu")
    with adapter.attached(model):
        torch.testing.assert_close(logits(merged), logits(model), rtol=1e-4, atol=1e-4)
    assert verify(model, adapter, merged, [tiny.sample()])["greedy_agreement"] == 1.0
    assert (model.window, merged.window) == (256, 256)
    own, read = (each.model.config.get_text_config(decoder=True).rope_parameters for each in (model, merged))
    assert read == own
    (entry,) = json.loads((tmp_path / "merged" / RECORD).read_text())["merged"]
    assert entry["extension"] == {"extend": extend, "native_window": 64, "window": 256, "in_config": True}


@pytest.mark.parametrize("extend", ["linear:4", "ntk:4", "yarn:4"])
def test_a_config_in_the_words_of_transformers_4_keeps_them(tmp_path: Path, extend: str) -> None:
    folder, model, _ = prepared(tmp_path, "llama", extend)
    config = json.loads((folder / "config.json").read_text())
    del config["rope_parameters"]
    (folder / "config.json").write_text(json.dumps({**config, "rope_theta": 10000.0, "rope_scaling": None}))
    merge(str(folder), tmp_path / "adapter", tmp_path / "merged", extend=extend, native_window=NATIVE)
    written = json.loads((tmp_path / "merged" / "config.json").read_text())
    scaled = model.model.config.rope_parameters
    assert written["rope_theta"] == scaled["rope_theta"]
    assert (written["rope_scaling"] or {"rope_type": "default"})["rope_type"] == scaled["rope_type"]
    del written["rope_parameters"]  # which nothing older than transformers 5 reads
    (tmp_path / "merged" / "config.json").write_text(json.dumps(written))
    assert loading.load(str(tmp_path / "merged"), device="cpu").model.config.rope_parameters == scaled


def test_an_adapter_tuned_under_an_extension_asks_for_it(tmp_path: Path) -> None:
    folder, model, _ = prepared(tmp_path, "llama", "ntk:4")
    noted = json.loads((tmp_path / "adapter" / "seal.json").read_text())["extension"]
    assert noted == {"extend": "ntk:4", "native_window": 64, "window": 256}
    base = loading.load(str(folder), dtype="float32", device="cpu")
    with pytest.raises(UsageError, match=r"tuned under --extend ntk:4, .* add --extend ntk:4 --window 64"):
        adapters.load(tmp_path / "adapter", base)
    with pytest.raises(UsageError, match="tuned under --extend ntk:4"):
        merge(str(folder), tmp_path / "adapter", tmp_path / "merged")
    adapters.load(tmp_path / "adapter", model)
    assert adapters.tuned_elsewhere(tmp_path / "adapter", model) is None
    other = extended(base, "yarn:8")
    adapters.load(tmp_path / "adapter", other)  # another one is the user's own choice, who is told
    told = adapters.tuned_elsewhere(tmp_path / "adapter", other)
    assert "ntk:4 from a window of 64 and is used here under yarn:8 from a window of 512" in (told or "")
    (tmp_path / "adapter" / "seal.json").unlink()  # a stock folder does not say what it was tuned under
    assert adapters.tuned_elsewhere(tmp_path / "adapter", other) is None


def test_an_adapter_notes_which_of_longropes_factors_it_was_tuned_under(tmp_path: Path) -> None:
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    model = tiny.load("phi3", rope_parameters=rope, original_max_position_embeddings=NATIVE)
    for window, factors in ((NATIVE, "short"), (NATIVE + 1, "long")):
        adapters.save(randomised("seal-c", model), tmp_path / factors, extended(model, None, window), {})
        assert json.loads((tmp_path / factors / "seal.json").read_text())["longrope"] == factors
        model.hold_to(512)
    assert adapters.tuned_elsewhere(tmp_path / "long", model) is None
    told = adapters.tuned_elsewhere(tmp_path / "short", model)
    assert "under LongRoPE's short factors and is used here under LongRoPE's long factors" in (told or "")
    extended(model, "self-extend:group=4,window=8")
    assert "no extension" in (adapters.tuned_elsewhere(tmp_path / "long", model) or "")
    seal = json.loads((tmp_path / "short" / "seal.json").read_text())
    del seal["longrope"]  # as adapters of earlier versions are
    (tmp_path / "short" / "seal.json").write_text(json.dumps(seal))
    assert "LongRoPE" not in (adapters.tuned_elsewhere(tmp_path / "short", model) or "")


WITHIN_ATTENTION = {
    "self-extend:group=4,window=26": (176, "--grp-attn-n 4 --grp-attn-w 24,"),
    "dca:4": (256, "dual_chunk_attention_config"),
}


@pytest.mark.parametrize("extend", WITHIN_ATTENTION)
def test_what_works_within_attention_is_not_in_a_merged_model_which_says_so(tmp_path: Path, extend: str) -> None:
    folder, model, adapter = prepared(tmp_path, "llama", extend)
    reach, flags = WITHIN_ATTENTION[extend]
    merge(str(folder), tmp_path / "adapter", tmp_path / "merged", extend=extend, native_window=NATIVE)
    assert (tmp_path / "merged" / "config.json").read_bytes() == (folder / "config.json").read_bytes()
    (entry,) = json.loads((tmp_path / "merged" / RECORD).read_text())["merged"]
    note = entry["extension"]
    assert (note["extend"], note["window"], note["in_config"]) == (extend, reach, False)
    assert flags in note["serving"]
    merged = extended(loading.load(str(tmp_path / "merged"), dtype="float32", device="cpu"), extend, NATIVE)
    assert verify(model, adapter, merged, [tiny.sample()])["greedy_agreement"] == 1.0
