# SPDX-License-Identifier: Apache-2.0
"""Claims about a GPU: what it answers, learns and measures is what a CPU does, in float64 to the ninth digit.

Skipped where there is none. bfloat16 on a GPU is a matter of figures (docs/results.md).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from commanding import Seal, commanding
from seal_attention import adapters, objective
from seal_attention.attention import continued
from seal_attention.blockwise import causal_mask
from seal_attention.extension.dual_chunk import DualChunk
from seal_attention.extension.self_extend import SelfExtend
from seal_attention.generation import answer_questions
from seal_attention.models import LoadedModel
from seal_attention.objective import accumulate_gradients
from seal_attention.prompts import Example

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device on this machine")

DEVICES = ("cpu", "cuda")
FAMILIES = ("llama", "mistral", "gemma2", "gemma3_text", "gpt2", "falcon-alibi", "gpt_oss", "deepseek_v3")
EXTENSIONS: dict[str, Callable[[LoadedModel], LoadedModel]] = {
    "self-extend": SelfExtend(3, 10).apply,
    "dca": DualChunk(16).apply,
}
WAYS: dict[str, dict[str, bool]] = {
    "plain": {},
    "checkpoint": {"checkpoint": True},
    "offload": {"checkpoint": True, "offload": True},
    "frozen": {"frozen_prefix": True},
}


def on(device: str, family: str, extension: str | None = None) -> LoadedModel:
    """A tiny model of one's own in float64 there."""
    changes = {} if extension is None else {"max_position_embeddings": 24}
    torch.manual_seed(0)  # vectors keep what transformers draws
    model = tiny.load(family, torch.float64, **changes)
    model.model.to(device)
    return model if extension is None else EXTENSIONS[extension](model)


def gradients(model: LoadedModel, method: str, example: Example, **options: Any) -> tuple[float, list[torch.Tensor]]:
    """The loss, and the gradients on the CPU."""
    with tiny.Float64():
        adapter = adapters.create(method, model)
        generator = torch.Generator().manual_seed(0)
        for parameter in adapter.parameters().values():  # devices draw different numbers from one seed
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            # Scales are learnt in float32, which would round their gradients.
            parameter.data = (0.1 * drawn + (method in ("seal-h", "seal-c"))).to(parameter.device)
        with adapter.attached(model):
            loss = accumulate_gradients(model, example, batch=2, **options)
        return loss, [p.grad.cpu() for p in adapter.parameters().values() if p.grad is not None]


def assert_same_gradients(model: Callable[[str], LoadedModel], method: str, example: Example, **options: Any) -> None:
    (loss, expected), (found_loss, found) = (gradients(model(d), method, example, **options) for d in DEVICES)
    assert found_loss == pytest.approx(loss, rel=1e-9)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("draft", [True, False], ids=["drafted", "written"])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_a_cpu(family: str, draft: bool, example: Example) -> None:
    with tiny.Float64():
        here, there = (answer_questions(on(device, family), example, {1}, draft=draft) for device in DEVICES)
    assert there == here


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_answers_past_the_window_are_those_of_a_cpu(extension: str, example: Example) -> None:
    here, there = (answer_questions(on(device, "llama", extension), example, {1}) for device in DEVICES)
    assert there == here


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma2"])
def test_gradients_are_those_of_a_cpu(family: str, way: str, example: Example) -> None:
    assert_same_gradients(functools.partial(on, family=family), "seal-c", example, **WAYS[way])


@pytest.mark.parametrize("method", adapters.METHODS)
def test_gradients_of_every_method_are_those_of_a_cpu(method: str, example: Example) -> None:
    assert_same_gradients(functools.partial(on, family="qwen3"), method, example)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_gradients_past_the_window_are_those_of_a_cpu(extension: str, way: str, example: Example) -> None:
    assert_same_gradients(functools.partial(on, family="llama", extension=extension), "seal-h", example, **WAYS[way])


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize(("heads", "size"), [(4, 64), (4, 20), (2, 128)])
def test_what_continues_a_cache_sees_all_keys_up_to_its_own(
    heads: int, size: int, dtype: torch.dtype, bound: float
) -> None:
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(2, heads, 70, size, generator=generator, dtype=torch.float64)
    key, value = torch.randn(2, 2, 2, 300, size, generator=generator, dtype=torch.float64)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=causal_mask(70, 300, query.device), scale=0.2, enable_gqa=True
    )
    found = continued(*(tensor.to("cuda", dtype) for tensor in (query, key, value)), 0.2)
    assert (found.cpu().double() - expected).abs().max() < bound


def test_offloaded_inputs_wait_in_pinned_memory_of_the_host(example: Example) -> None:
    walk = objective._CheckpointedPrefix(on("cuda", "llama"), offload=True)
    walk.prefill(example.prefix_ids, None)
    assert [(kept.device.type, kept.is_pinned(), home.type) for kept, home in walk.inputs] == [
        ("cpu", True, "cuda")
    ] * 2


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model in it, its window big enough for some lines."""
    folder = tmp_path_factory.mktemp("cuda")
    tiny.save("llama", folder / "model", torch.float64, max_position_embeddings=1024)
    return folder


ASKED = ("model", "--lines", "2,3", "--n", 4, "--dtype", "float64")
COMMANDS: dict[str, tuple[Any, ...]] = {
    "eval": ("eval", *ASKED, "--questions", 2),
    "probe heads": ("probe", "heads", *ASKED, "--questions", 2),
    "probe fast": ("probe", "fast", *ASKED, "--top", 2),
    "probe direct": ("probe", "direct", *ASKED),
    "probe attention": ("probe", "attention", *ASKED),
    "perplexity": ("perplexity", "model", "--bytes", "1k", "--window", "128", "--dtype", "float64"),
}


def numbers(value: Any) -> list[float]:
    """Every number of a result, in order, but for times and sizes of memory."""
    if isinstance(value, dict):
        kept = [each for key, each in value.items() if "seconds" not in key and "memory" not in key]
        return [number for each in kept for number in numbers(each)]
    if isinstance(value, list):
        return [number for each in value for number in numbers(each)]
    return [float(value)] if isinstance(value, int | float) else []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_on_a_gpu_what_it_says_on_a_cpu(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seal: Seal = commanding(place, monkeypatch, capsys)
    said = []
    for device in DEVICES:
        with tiny.Float64():
            result = seal(*COMMANDS[name], "--device", device, "--json", "--out", f"{name}-{device}".replace(" ", "-"))
        assert result.returncode == 0, result.stderr
        said.append(numbers(json.loads(result.stdout)))
    assert len(said[0]) > 4
    assert said[1] == pytest.approx(said[0], rel=1e-5, abs=2e-6)  # written to six digits


def test_tuned_on_a_gpu_and_merged_it_answers_as_adapted(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seal: Seal = commanding(place, monkeypatch, capsys)
    learnt = {}
    for device in DEVICES:
        result = seal(
            "tune", *ASKED[:3], "--samples", 4, "--dtype", "float64", "--device", device, "--out", f"t-{device}"
        )
        assert result.returncode == 0, result.stderr
        results = json.loads((place / f"t-{device}" / "results.json").read_text())
        learnt[device] = (results["first_loss"], results["last_loss"])
    assert learnt["cuda"] == pytest.approx(learnt["cpu"], rel=1e-5)
    merging = seal("merge", "t-cuda/adapter", "--out", "merged", "--verify")
    assert merging.returncode == 0, merging.stderr
