# SPDX-License-Identifier: Apache-2.0
"""A job's sizes and a model's shapes -> tokens, estimated peak memory and time, before anything long starts.

The model is built without its weights; the machine's speed is measured on one matrix product of the model's own shape.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .models import LoadedModel
from .prompts import Encoder, Example
from .samples import Sample

EFFICIENCY = 0.3  # of the measured matrix-product rate that a whole step reaches (docs/results.md)
OVERHEAD_BYTES = 700_000_000  # the interpreter with torch and transformers loaded


@dataclass(frozen=True)
class Shapes:
    """What memory and time depend on; `parameters` without the embeddings, `item` bytes a number."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_size: int
    parameters: int
    embeddings: int
    item: int

    @classmethod
    def of(cls, model: LoadedModel, dtype: torch.dtype) -> Shapes:
        """The shapes of a loaded or weightless model."""
        text: Any = model.model.config.get_text_config(decoder=True)
        embeddings = model.model.get_input_embeddings().weight.numel()
        total = sum(parameter.numel() for parameter in model.model.parameters())
        first = model.projections[0]
        intermediate = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
        return cls(
            len(model.projections),
            text.hidden_size,
            intermediate,
            first.heads,
            model.key_value_heads,
            first.head_size,
            total - embeddings,
            embeddings,
            torch.finfo(dtype).bits // 8,
        )

    @property
    def layer_activations(self) -> int:
        """Bytes a token that one layer keeps for its backward pass: norms in float32, the gated MLP, the attention."""
        attention = self.head_size * (3 * self.heads + 2 * self.key_value_heads)
        return 16 * self.hidden + self.item * (3 * self.intermediate + attention)

    @property
    def cache(self) -> int:
        """Bytes a token of keys and values in all layers."""
        return 2 * self.layers * self.key_value_heads * self.head_size * self.item


def tuning_memory(shapes: Shapes, prefix: int, question: int, batch: int, checkpoint: bool) -> int:
    """Peak bytes of a tuning step: weights, the prefix's activations (or layer inputs), and one batch of questions.

    A batch of questions holds its own activations and, for the attention's backward pass, the prefix's keys and values
    repeated for each query head.
    """
    weights = (shapes.parameters + shapes.embeddings) * shapes.item
    if checkpoint:
        kept = prefix * (shapes.layers * shapes.hidden * shapes.item + shapes.layer_activations)
    else:
        kept = prefix * shapes.layers * shapes.layer_activations
    repeated = (prefix + batch * question) * 2 * shapes.layers * shapes.heads * shapes.head_size * shapes.item
    asked = batch * question * shapes.layers * shapes.layer_activations + repeated
    return OVERHEAD_BYTES + weights + kept + asked + 2 * prefix * shapes.cache


def passes(shapes: Shapes, example: Example, times: float) -> float:
    """Floating-point operations of sending an example through the model `times` times; attention counts its square."""
    attention = 2 * example.longest_prompt * shapes.heads * shapes.head_size * shapes.layers
    return times * example.tokens * (2 * shapes.parameters + attention)


def measured_rate(shapes: Shapes, dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of this machine on one matrix product of the model's MLP shape (about .3 s)."""
    tokens = torch.randn(1024, shapes.hidden, dtype=dtype, device=device)
    weight = torch.randn(shapes.intermediate, shapes.hidden, dtype=dtype, device=device)
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < 0.3:
        torch.nn.functional.linear(tokens, weight).sum().item()
        count += 1
    return count * 2 * 1024 * shapes.hidden * shapes.intermediate / (time.perf_counter() - started)


def plan(
    model: LoadedModel,
    samples: Sequence[Sample],
    dtype: torch.dtype,
    device: torch.device,
    *,
    batch: int,
    checkpoint: bool,
) -> dict[str, Any]:
    """Tokens, memory (GB) and seconds of tuning on the samples and of asking them once, from the first of them."""
    encoder = Encoder(model.tokenizer)
    example = encoder.encode(samples[0])
    shapes = Shapes.of(model, dtype)
    question = max(len(q.suffix_ids) + len(q.answer_ids) for q in example.questions)
    memory = tuning_memory(shapes, len(example.prefix_ids), question, min(batch, len(example.questions)), checkpoint)
    rate = EFFICIENCY * measured_rate(shapes, dtype, device)
    return {
        "model": model.name,
        "window": model.window,
        "heads": f"{shapes.layers} layers x {shapes.heads} heads of {shapes.head_size} channels",
        "key_value_heads": shapes.key_value_heads,
        "scales": {"seal-h": shapes.layers * shapes.heads, "seal-c": shapes.layers * shapes.heads * shapes.head_size},
        "contexts": len(samples),
        "questions": sum(len(sample.questions) for sample in samples),
        "longest_prompt": example.longest_prompt,
        "tokens": example.tokens * len(samples),
        "weights_gb": round((shapes.parameters + shapes.embeddings) * shapes.item / 1e9, 2),
        "tuning_memory_gb": round(memory / 1e9, 2),
        "tuning_seconds": round(passes(shapes, example, 3.0 if checkpoint else 2.0) * len(samples) / rate),
        "asking_seconds": round(passes(shapes, example, 1.0) * len(samples) / rate),
    }
