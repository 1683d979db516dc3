# SPDX-License-Identifier: Apache-2.0
"""Claims about the recomputed walk's memory: offloading changes no bit, and what was used up is let go.

No GPU here: that a copy to another device and back keeps every bit is taken from torch.
"""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch

import tiny
from seal_attention import adapters, objective
from seal_attention.errors import UsageError
from seal_attention.objective import accumulate_gradients
from seal_attention.prompts import Example
from seal_attention.tuning.loop import TuneSettings

SHARES_KEYS = "gemma4_text"  # not to be recomputed one layer at a time
RECOMPUTED = [family for family in tiny.FAMILIES if family != SHARES_KEYS]


def gradients(family: str, example: Example, **options: Any) -> tuple[float, list[torch.Tensor]]:
    """Loss and gradients of SEAL-C's scales, in float32."""
    model = tiny.shared(family, torch.float32)
    scales = adapters.create("seal-c", model)
    with scales.attached(model):
        loss = accumulate_gradients(model, example, batch=2, checkpoint=True, **options)
    return loss, [parameter.grad for parameter in scales.parameters().values() if parameter.grad is not None]


@pytest.mark.parametrize("family", RECOMPUTED)
def test_offloading_changes_no_bit_of_loss_or_gradients(
    family: str, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected_loss, expected = gradients(family, example)
    copies: list[torch.Tensor] = []

    def copied(tensor: torch.Tensor) -> torch.Tensor:
        copies.append(tensor.clone())
        return copies[-1]

    for on_host in (objective._on_host, copied):  # a CPU's own way, and as if the host were elsewhere
        monkeypatch.setattr(objective, "_on_host", on_host)
        loss, found = gradients(family, example, offload=True)
        assert loss == expected_loss
        assert len(found) == len(expected) > 0
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    parts = len(example.parts())
    assert len(copies) == parts * len(tiny.shared(family, torch.float32).decoder_layers)


def test_kept_inputs_live_on_the_cpu(example: Example) -> None:
    model = tiny.shared("llama", torch.float32)
    walk = objective._CheckpointedPrefix(model, offload=True)
    walk.prefill(example.prefix_ids, None)
    assert [kept.device.type for kept, _ in walk.inputs] == ["cpu"] * len(model.decoder_layers)
    assert all(kept.shape == (1, len(example.prefix_ids), 32) for kept, _ in walk.inputs)
    assert all(device == model.device for _, device in walk.inputs)


def test_the_walk_holds_no_keys_and_values_and_lets_go_of_each_layer(
    example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.shared("llama", torch.float32)
    prefilled: list[weakref.ref[torch.Tensor]] = []
    inputs: list[weakref.ref[torch.Tensor]] = []
    alive: list[tuple[int, int]] = []
    prefill, again = objective._CheckpointedPrefix.prefill, objective._CheckpointedPrefix._again

    def watched_prefill(walk: Any, *args: Any) -> Any:
        prefix = prefill(walk, *args)
        prefilled.extend(map(weakref.ref, prefix.tensors()))
        inputs.extend(weakref.ref(kept) for kept, _ in walk.inputs)
        return prefix

    def watched_again(walk: Any) -> Any:
        alive.append((sum(ref() is not None for ref in prefilled), sum(ref() is not None for ref in inputs)))
        return again(walk)

    monkeypatch.setattr(objective._CheckpointedPrefix, "prefill", watched_prefill)
    monkeypatch.setattr(objective._CheckpointedPrefix, "_again", watched_again)
    scales = adapters.create("seal-c", model)
    with scales.attached(model):
        accumulate_gradients(model, example, batch=3, checkpoint=True)
    assert alive == [(0, 2), (0, 1)]


def test_offloading_without_checkpointing_is_refused_with_what_to_type() -> None:
    with pytest.raises(UsageError, match="type --checkpoint --offload") as refusal:
        TuneSettings("seal-c", 1e-2, offload=True)
    assert "\n" not in str(refusal.value)
    assert TuneSettings("seal-c", 1e-2, checkpoint=True, offload=True).offload
