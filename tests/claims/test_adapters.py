# SPDX-License-Identifier: Apache-2.0
"""Claims about adapters: stock PEFT loads them, strength dials them, strangers and corruption are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import tiny
from adapting import logits, randomised
from seal_attention import adapters
from seal_attention.adapters import SEAL_FILE, WEIGHTS_FILE, Scales
from seal_attention.errors import UsageError

PLAIN_PEFT = """
import sys, torch
from transformers import AutoModelForCausalLM
from peft import PeftModel
for folder in sys.argv[1:]:
    model = AutoModelForCausalLM.from_pretrained(folder + "/model", dtype="auto")
    model = PeftModel.from_pretrained(model, folder + "/adapter").eval()
    with torch.no_grad():
        torch.save(model(input_ids=torch.tensor([[5, 9, 30, 7, 61, 200, 11]])).logits, folder + "/logits.pt")
assert not any("seal" in name for name in sys.modules), "this process was to know nothing of the package"
"""


def test_plain_peft_gives_the_same_logits_in_a_process_without_this_package(tmp_path: Path) -> None:
    ours = {}
    for family, method in (("llama", "seal-h"), ("llama", "seal-c"), ("gpt2", "seal-c")):
        for dtype in (torch.float32, torch.bfloat16):
            folder = tmp_path / f"{family}-{method}-{dtype}"
            tiny.save(family, folder / "model", dtype)
            model = tiny.load(family, dtype)
            scales = randomised(method, model)
            adapters.save(scales, folder / "adapter", model, {})
            with scales.attached(model):
                ours[folder] = logits(model)
            assert not torch.equal(ours[folder], logits(model))
    subprocess.run([sys.executable, "-c", PLAIN_PEFT, *map(str, ours)], check=True, capture_output=True)
    for folder, adapted in ours.items():
        assert torch.equal(adapted, torch.load(folder / "logits.pt")), folder.name


@pytest.mark.parametrize("method", adapters.METHODS)
def test_a_saved_adapter_loads_to_the_same_logits(tmp_path: Path, method: str) -> None:
    model = tiny.load("llama")
    adapter = adapters.create(method, model)
    with torch.no_grad():
        for value in adapter.parameters().values():
            value.add_(0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1)))
    adapters.save(adapter, tmp_path / "adapter", model, {"task": "lines"})
    with adapter.attached(model):
        ours = logits(model)
    fresh = tiny.load("llama")
    base = logits(fresh)
    again = adapters.load(tmp_path / "adapter", fresh)
    assert torch.equal(logits(fresh), base)
    with again.attached(fresh):
        assert torch.equal(logits(fresh), ours)
    assert not torch.equal(ours, base)
    assert torch.equal(logits(fresh), base)


def test_head_scales_equal_channel_scales_repeated_over_the_head() -> None:
    model = tiny.load("llama")
    heads, channels = randomised("seal-h", model), Scales("seal-c", model.projections)
    with torch.no_grad():
        for name, value in channels.values.items():
            value.copy_(heads.channel_scales(name))
    with heads.attached(model):
        by_head = logits(model)
    with channels.attached(model):
        assert torch.equal(logits(model), by_head)


def test_strength_dials_from_the_base_to_the_tuned_model_and_beyond() -> None:
    model = tiny.load("llama")
    scales = randomised("seal-c", model)
    name = model.projections[0].name
    full = scales.channel_scales(name).clone()
    scales.strength = 0.0
    with scales.attached(model):
        assert torch.equal(logits(model), tiny_base := logits(tiny.load("llama")))
    assert tiny_base is not None
    scales.strength = 2.0
    assert torch.allclose(scales.channel_scales(name), 1 + 2 * (full - 1))


def test_nested_attachments_multiply_and_come_off_in_order() -> None:
    model = tiny.load("llama")
    scales = randomised("seal-c", model)
    base = logits(model)
    with scales.attached(model):
        once = logits(model)
        with scales.attached(model):
            assert not torch.equal(logits(model), once)
        assert torch.equal(logits(model), once)
    assert torch.equal(logits(model), base)


def test_an_adapter_of_another_model_is_refused_naming_both(tmp_path: Path) -> None:
    model = tiny.load("llama")
    adapters.save(randomised("seal-h", model), tmp_path / "adapter", model, {})
    other = tiny.load("llama", seed=1)
    other.name = "tiny cousin"
    with pytest.raises(UsageError, match="made for 'tiny llama', not for 'tiny cousin'"):
        adapters.load(tmp_path / "adapter", other)


def test_a_change_of_dtype_is_no_other_model(tmp_path: Path) -> None:
    model = tiny.load("llama")
    adapters.save(randomised("seal-h", model), tmp_path / "adapter", model, {})
    adapters.load(tmp_path / "adapter", tiny.load("llama", torch.bfloat16))


def test_a_scale_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    model = tiny.load("llama")
    adapters.save(randomised("seal-c", model), tmp_path / "adapter", model, {})
    tensors = load_file(tmp_path / "adapter" / WEIGHTS_FILE)
    next(iter(tensors.values()))[0, 3] = float("nan")
    save_file(tensors, tmp_path / "adapter" / WEIGHTS_FILE)
    with pytest.raises(UsageError, match="not a finite number"):
        adapters.load(tmp_path / "adapter", model)


def test_corrupt_foreign_and_missing_adapters_are_refused(tmp_path: Path) -> None:
    model = tiny.load("llama")
    with pytest.raises(UsageError, match="no adapter folder"):
        adapters.load(tmp_path / "nowhere", model)
    adapters.save(randomised("seal-c", model), tmp_path / "adapter", model, {})
    whole = (tmp_path / "adapter" / WEIGHTS_FILE).read_bytes()
    (tmp_path / "adapter" / WEIGHTS_FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match="can't be read"):
        adapters.load(tmp_path / "adapter", model)
    (tmp_path / "adapter" / SEAL_FILE).unlink()
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({**config, "peft_type": "LORA"}))
    with pytest.raises(UsageError, match="LORA adapter without seal"):
        adapters.load(tmp_path / "adapter", model)


def test_seal_json_tells_method_base_and_a_scale_a_head(tmp_path: Path) -> None:
    model = tiny.load("llama")
    scales = randomised("seal-h", model)
    adapters.save(scales, tmp_path / "adapter", model, {"task": "lines", "lines": 40})
    seal = json.loads((tmp_path / "adapter" / SEAL_FILE).read_text())
    assert (seal["method"], seal["base"]["name"], seal["task"], seal["lines"]) == ("seal-h", "tiny llama", "lines", 40)
    assert torch.allclose(torch.tensor(seal["heads"]), torch.stack(list(scales.values.values())))
