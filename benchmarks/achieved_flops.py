# SPDX-License-Identifier: Apache-2.0
"""Tuning steps at several lengths -> seconds a token, and what share of the machine's matrix-product rate they reach.

Useful operations are counted from the shapes; the machine's rate is measured on the model's own linears, in the same
process, before and after the steps. There is no peer and no ratio here.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from pairing import Asked, Comparison, Figures, Side
from seal_attention.samples import tokens_name

MODULE = "achieved_flops"
RATE = 3e-2


def comparisons(asked: Asked) -> list[Comparison]:
    """One a length."""
    lengths = (320, 384) if asked.quick else (1024, 2048, 4096, 8192)
    found = []
    for length in lengths:
        settings = {"length": length, "questions": 2 if asked.quick else 8, "contexts": 1 if asked.quick else 2}
        seconds = 15 + 5 * length / 1024 * (1 + length / 8192) * settings["contexts"]
        found.append(Comparison(f"flops_{tokens_name(length)}", MODULE, {"ours": Side("seal", settings, seconds)}, 1))
    return found


def seal(length: int, questions: int, contexts: int) -> Figures:
    """SEAL-C steps and the rate of the machine around them."""
    import torch

    import measuring
    from seal_attention import adapters
    from seal_attention.objective import accumulate_gradients
    from seal_attention.planning import Operations
    from seal_attention.shapes import Shapes

    loaded = measuring.load_model()
    model = loaded.model
    adapter = adapters.create("seal-c", model)
    optimizer = torch.optim.AdamW(adapter.parameters().values(), lr=RATE, weight_decay=0.0)
    examples = measuring.contexts(loaded.encoder, length, questions, contexts)
    rates = [matrix_product_rate(model)]
    seconds = []
    with adapter.attached(model):
        for example in (measuring.warm_up(loaded.encoder), *examples):
            started = time.perf_counter()
            optimizer.zero_grad()
            accumulate_gradients(model, example, batch=questions)
            optimizer.step()
            seconds.append(time.perf_counter() - started)
    rates.append(matrix_product_rate(model))
    shapes = Shapes.of(model, model.model.dtype, model.device)
    needed = [Operations.of(shapes, example).tuning(checkpoint=False) for example in examples]  # however it is done
    achieved = [operations / spent for operations, spent in zip(needed, seconds[1:], strict=True)]
    return {
        "tokens": examples[0].tokens,
        "operations": needed[0],
        "seconds_per_token": sum(seconds[1:]) / sum(example.tokens for example in examples),
        "flops": statistics.median(achieved),
        "machine_flops": max(rates),
        "share": statistics.median(achieved) / max(rates),
    }


def matrix_product_rate(model: Any, rows: int = 1024, seconds: float = 1.0) -> float:
    """Operations a second over the linears of the model's first layer, in its own precision."""
    import torch

    linears = [module for module in model.decoder_layers[0].modules() if isinstance(module, torch.nn.Linear)]
    inputs = [torch.randn(rows, linear.in_features, dtype=linear.weight.dtype) for linear in linears]
    operations = sum(2 * rows * linear.weight.numel() for linear in linears)
    fastest = float("inf")
    ends = time.perf_counter() + seconds
    with torch.no_grad():
        while time.perf_counter() < ends:
            started = time.perf_counter()
            for linear, given in zip(linears, inputs, strict=True):
                linear(given)
            fastest = min(fastest, time.perf_counter() - started)
    return operations / fastest


def summarise(_comparison: Comparison, repeats: Sequence[Mapping[str, Figures]]) -> Figures:
    """The figures themselves."""
    return {"ratios": {}, **repeats[0]["ours"]}
