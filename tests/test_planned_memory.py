# SPDX-License-Identifier: Apache-2.0
"""Claims about the plan's memory: terms that follow from shapes, and what each option takes away."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import tiny
from seal_attention import adapters, planned_memory, saved_tensors
from seal_attention.extension import extended, far_queries
from seal_attention.planned_memory import Step, tuning_memory
from seal_attention.prompts import Encoder
from seal_attention.shapes import FLOAT32, Shapes
from seal_attention.shared_prefix import PrefixCache

CPU = torch.device("cpu")
SHAPES = Shapes(30, 576, 1536, 9, 3, 64, 49_152, 134_000_000, 106_000_000, 28_000_000, 2)
ON_A_GPU = replace(SHAPES, host=False)
STEP = Step(prefix=4_000, asked=320, answers=200)
WALKS = pytest.mark.parametrize("checkpoint", [False, True], ids=["kept", "recomputed"])


@WALKS
@pytest.mark.parametrize("shapes", [SHAPES, ON_A_GPU], ids=["cpu", "gpu"])
def test_memory_grows_linearly_with_the_prefix(shapes: Shapes, checkpoint: bool) -> None:
    lengths = (8_000, 12_000, 16_000)  # which of the two ends of a step has the peak may change below
    peaks = [tuning_memory(shapes, replace(STEP, prefix=n), checkpoint).device for n in lengths]
    assert peaks[2] - peaks[1] == peaks[1] - peaks[0] > 0


def test_holes_of_a_walk_on_a_cpu_are_planned_and_grow_with_the_layer() -> None:
    step = Step(prefix=16_000, asked=1, answers=1)
    here, there = replace(SHAPES, heads=3), replace(ON_A_GPU, heads=3)  # a GPU would repeat the keys of shared heads
    assert tuning_memory(here, step, False) == tuning_memory(there, step, False)
    holes = tuning_memory(here, step, True).device - tuning_memory(there, step, True).device
    assert holes == planned_memory.HOLES * here.layer(step.prefix)


def test_a_prefix_too_short_for_a_lean_graph_keeps_norms_inputs_twice_as_wide() -> None:
    short, long = (tuning_memory(ON_A_GPU, replace(STEP, prefix=n, asked=0), False).device for n in (2047, 2048))
    wider = 2 * ON_A_GPU.hidden * (FLOAT32 - ON_A_GPU.item) * 2047 * (ON_A_GPU.layers - 1)
    assert short - long == pytest.approx(wider, rel=0.01)  # less one token


def test_a_longer_prefix_costs_less_checkpointed() -> None:
    slopes = []
    for checkpoint in (False, True):
        short, long = (tuning_memory(SHAPES, replace(STEP, prefix=n), checkpoint).device for n in (4_000, 8_000))
        slopes.append(long - short)
    assert slopes[1] < slopes[0] / 3


def test_offloading_moves_the_layer_inputs_to_the_host_and_nothing_else() -> None:
    here, moved = (tuning_memory(ON_A_GPU, STEP, checkpoint=True, offload=offload) for offload in (False, True))
    inputs = STEP.prefix * SHAPES.layers * SHAPES.hidden * SHAPES.item
    assert (here.host, moved.host) == (0, inputs)
    assert here.device - moved.device == inputs


def test_without_checkpointing_there_is_nothing_to_offload() -> None:
    assert tuning_memory(SHAPES, STEP, False, offload=True) == tuning_memory(SHAPES, STEP, False)


def test_a_frozen_prefix_costs_its_keys_and_values_twice() -> None:
    """Once read, and once more with the questions' own behind them."""
    short, long = (tuning_memory(SHAPES, replace(STEP, prefix=n), False, frozen=True).device for n in (4_000, 8_000))
    assert long - short == 2 * 4_000 * SHAPES.cache
    assert long < tuning_memory(SHAPES, replace(STEP, prefix=8_000), checkpoint=True).device


@WALKS
def test_more_batches_hold_the_gradients_of_the_earlier_ones(checkpoint: bool) -> None:
    one, two = (tuning_memory(SHAPES, replace(STEP, batches=count), checkpoint).device for count in (1, 2))
    assert two - one == STEP.prefix * SHAPES.cache


def test_questions_in_rows_of_their_own_each_copy_the_prefix() -> None:
    encoder = Encoder(tiny.tokenizer())
    example = encoder.encode(tiny.sample())
    assert Step.of(tiny.shared("llama"), example, 2).copies == 1
    rows = Step.of(tiny.shared("mistral"), example, 2)  # whose window slides
    assert (rows.copies, rows.batches) == (2, 2)
    assert rows.prefix == len(example.prefix_ids)


@pytest.mark.parametrize(
    ("dtype", "extend", "far", "lean"),
    [
        (torch.float32, None, 0, True),
        (torch.bfloat16, None, 0, True),
        (torch.bfloat16, None, 0, False),
        (torch.float32, "self-extend:group=3,window=10", 1, True),
        (torch.float32, "dca:16", 2, True),
    ],
)
def test_a_layer_keeps_what_the_formula_says(
    dtype: torch.dtype, extend: str | None, far: int, lean: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What autograd keeps of a prefix, counted by storage, against the layer's term; 200 tokens, a llama."""
    monkeypatch.setattr(saved_tensors, "SMALL", 1000)  # between a number a token and a hidden state
    model = extended(tiny.load("llama", dtype, num_hidden_layers=6), extend, 40 if extend else None)
    scales = adapters.create("seal-c", model)
    keeping = saved_tensors._Keeping(model)
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = (keeping.pack(tensor)[0] if lean else tensor).untyped_storage()
        if storage.data_ptr() not in keeping.weights:
            kept[storage.data_ptr()] = storage
        return tensor

    ids = [7 + place % 200 for place in range(200)]
    with scales.attached(model), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        PrefixCache.prefill(model, ids)
    counted = sum(storage.nbytes() for storage in kept.values())
    shapes = replace(Shapes.of(model, dtype, CPU), host=False)  # holes are kept by nobody
    assert counted == pytest.approx(6 * shapes.layer(200, far, lean), rel=0.1)


def test_what_is_turned_for_far_keys_is_planned_where_some_are_far() -> None:
    model = extended(tiny.load("llama"), "self-extend:group=4,window=16", 64)
    assert [far_queries(model, length) for length in (16, 17)] == [0, 1]
    example = Encoder(tiny.tokenizer()).encode(tiny.sample())
    plain, near, far = Step.of(tiny.shared("llama"), example, 2), replace(STEP, far=0), replace(STEP, far=1)
    assert Step.of(model, example, 2) == replace(plain, far=1)
    wider = extended(tiny.load("llama"), "self-extend:group=4,window=400")
    assert [Step.of(wider, example, 2, spread).far for spread in (0, 401)] == [0, 1]
    turned = SHAPES.item * SHAPES.head_size * SHAPES.layers
    keys, queries = SHAPES.key_value_heads * turned, SHAPES.heads * turned
    more = (
        tuning_memory(SHAPES, far, False, frozen=True).device - tuning_memory(SHAPES, near, False, frozen=True).device
    )
    assert more == (STEP.prefix + STEP.asked) * keys + STEP.asked * queries


def test_the_process_counts_itself() -> None:
    on_a_gpu = planned_memory.process_memory(ON_A_GPU)
    assert on_a_gpu > 100_000_000
    assert planned_memory.process_memory(SHAPES) > on_a_gpu
