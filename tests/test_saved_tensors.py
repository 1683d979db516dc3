# SPDX-License-Identifier: Apache-2.0
"""Graphs keep less, and gradients stay what they are bit for bit."""

from __future__ import annotations

import contextlib
import weakref

import pytest
import torch

import tiny
from seal_attention import adapters, objective, saved_tensors
from seal_attention.objective import accumulate_gradients
from seal_attention.prompts import Example


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_tensors, "SMALL", 0)
    monkeypatch.setattr(saved_tensors, "LONG", 0)


def gradients(family: str, method: str, example: Example) -> dict[str, torch.Tensor]:
    """Of one step in bfloat16, by name."""
    model = tiny.load(family, torch.bfloat16)
    torch.manual_seed(2)
    adapter = adapters.create(method, model)
    with adapter.attached(model):
        accumulate_gradients(model, example, batch=2)
    return {name: p.grad for name, p in adapter.parameters().items() if p.grad is not None}


@pytest.mark.parametrize("method", ["seal-c", "seal-l"])
@pytest.mark.parametrize("family", ["llama", "gemma3_text", "qwen3", "mixtral"])
def test_a_lean_graph_gives_the_same_gradients_bit_for_bit(
    family: str, method: str, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    lean = gradients(family, method, example)
    monkeypatch.setattr(objective, "lean_graph", lambda *_: contextlib.nullcontext())
    plain = gradients(family, method, example)
    assert lean.keys() == plain.keys()
    assert any(gradient.any() for gradient in plain.values())
    assert all(torch.equal(lean[name], gradient) for name, gradient in plain.items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_is_kept_in_16_bits_only_where_it_came_from_them(dtype: torch.dtype) -> None:
    keeping = saved_tensors._Keeping(tiny.load("llama", dtype))
    came = torch.randn(40, 50).to(dtype).float()
    packed = keeping.pack(came)
    assert packed[0].dtype == dtype
    assert torch.equal(keeping.unpack(packed), came)
    assert keeping.pack(came)[0] is packed[0]  # by another operation that keeps it too
    late = came.clone()
    late[-1, -1] = 1 + 2**-20  # the last number alone needs more bits
    for wide in (late, torch.randn(40, 50), torch.randn(40, 50, dtype=torch.float64), came.to(dtype)):
        assert saved_tensors._same(keeping.pack(wide)[0], wide)
    changed = came.clone()
    first = keeping.pack(changed)
    changed += 1
    assert torch.equal(keeping.unpack(keeping.pack(changed)), changed)
    assert torch.equal(keeping.unpack(first), came)


def test_a_float32_model_keeps_everything_as_it_is() -> None:
    keeping = saved_tensors._Keeping(tiny.shared("llama", torch.float32))
    came = torch.randn(40, 50).bfloat16().float()
    assert saved_tensors._same(keeping.pack(came)[0], came)


@pytest.mark.parametrize("smallest", [0, 1000])
def test_a_graph_that_is_never_walked_back_is_freed(smallest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_tensors, "SMALL", smallest)
    start = torch.randn(20, requires_grad=True)
    with saved_tensors.lean_graph(tiny.shared("llama", torch.float32), 1):
        own_output = torch.exp(start)  # its backward pass asks for it
    alive = weakref.ref(own_output)
    del own_output
    assert alive() is None


def test_holes_are_handed_back_as_the_graph_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[None] = []
    monkeypatch.setattr(saved_tensors, "return_freed_memory", lambda: calls.append(None))
    monkeypatch.setattr(saved_tensors, "HANDED_BACK", 3 * 4000)
    model = tiny.shared("llama", torch.float32)
    with saved_tensors.lean_graph(model, 1):
        keeping = saved_tensors._Keeping(model)
        for _ in range(8):  # the fourth and the eighth are one too many
            keeping.pack(torch.randn(1000))
        keeping.pack(next(model.model.parameters()))
    assert len(calls) == 2
    kept = (torch.randn(1000), torch.float32)
    for _ in range(4):  # asked for again: the memory of what was asked for before is free by then
        keeping.unpack(kept)
    assert len(calls) == 3
