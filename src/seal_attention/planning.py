# SPDX-License-Identifier: Apache-2.0
"""A job's samples and a model -> tokens, estimated peak memory and time, before anything long starts.

The model is built without its weights; the machine's speed is measured on one matrix product of the model's own shape,
what the interpreter takes on this very process.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .models import LoadedModel
from .planned_memory import Step, process_memory, tuning_memory
from .prompts import Encoder, Example, require_fit
from .samples import Sample
from .shapes import Shapes

EFFICIENCY = 0.5  # of the measured matrix-product rate that a whole step reaches (docs/results.md)
ATTENTION_BACKWARD = 2.5  # of its forward: two products forward, five backward, one of them recomputed


@dataclass(frozen=True)
class Products:
    """Floating-point operations of some tokens on their way through a model.

    Linears: two a parameter and token. Attention: four a head, channel, query and key.
    """

    linears: float
    attention: float

    @property
    def forward(self) -> float:
        """Once through the model."""
        return self.linears + self.attention

    @property
    def backward(self) -> float:
        """And back: of a frozen linear its input's gradient alone."""
        return self.linears + ATTENTION_BACKWARD * self.attention


@dataclass(frozen=True)
class Operations:
    """Those of an example: of its `prefix`, read once, and of what is `asked`, with the answers and their logits."""

    prefix: Products
    asked: Products

    @classmethod
    def of(cls, shapes: Shapes, example: Example) -> Operations:
        """A token meets its own past alone, so a prefix half of its pairs."""
        prefix = len(example.prefix_ids)
        asked = [len(question.suffix_ids) + len(question.answer_ids) - 1 for question in example.questions]
        answers = sum(len(question.answer_ids) for question in example.questions)
        a_pair = 4 * shapes.layers * shapes.heads * shapes.head_size
        met = sum(count * (prefix + count / 2) for count in asked)
        return cls(
            Products(2 * shapes.parameters_a_token * prefix, a_pair * prefix * prefix / 2),
            Products(2 * (shapes.parameters_a_token * sum(asked) + shapes.embeddings * answers), a_pair * met),
        )

    @property
    def asking(self) -> float:
        """Everything forward."""
        return self.prefix.forward + self.asked.forward

    def tuning(self, checkpoint: bool, frozen: bool = False) -> float:
        """Forward and backward, but for a `frozen` prefix; with `checkpoint` the prefix is read twice."""
        back = 0.0 if frozen else self.prefix.backward
        return (1 + checkpoint) * self.prefix.forward + back + self.asked.forward + self.asked.backward


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
    shares: Sequence[float],
    dtype: torch.dtype,
    device: torch.device,
    *,
    contexts: int,
    questions: int,
    batch: int,
    checkpoint: bool,
    offload: bool = False,
    frozen: bool = False,
    readings: int = 1,
    spread: int = 0,
) -> dict[str, Any]:
    """Tokens, memory (GB) and seconds of tuning on so many contexts like the samples, and of asking them once.

    `shares` are those of the contexts that are like each sample, in any unit; the memory is that of the sample which
    takes most. `questions` are those of all contexts, of which each reading takes its share; `checkpoint`, `offload`
    and `frozen` are how tuning treats the prefix (objective.accumulate_gradients), `spread` is how far apart it puts
    tokens. On a CPU `tuning_memory_gb` is all of it; beside a GPU's there is `host_memory_gb`. UsageError where a
    sample exceeds the model's window.
    """
    encoder = Encoder(model.tokenizer)
    wholes = [encoder.encode(sample) for sample in samples]
    for whole in wholes:
        require_fit(whole, model.window)
    examples = wholes if readings == 1 else [encoder.encode(sample.share(0, readings)) for sample in samples]
    shapes = Shapes.of(model, dtype, device)
    steps = [Step.of(model, example, batch, spread) for example in examples]
    memories = [tuning_memory(shapes, step, checkpoint, offload, frozen) for step in steps]
    memory = max(memories, key=lambda peak: peak.device)
    host = memory.host + process_memory(shapes)
    peaks = (
        {"tuning_memory_gb": memory.device + host}
        if shapes.host
        else {
            "tuning_memory_gb": memory.device,
            "host_memory_gb": host,
        }
    )
    rate = EFFICIENCY * measured_rate(shapes, dtype, device)
    held = [contexts * share / sum(shares) for share in shares]
    stepping = [Operations.of(shapes, example).tuning(checkpoint, frozen) for example in examples]
    tuning = sum(step * count for step, count in zip(stepping, held, strict=True))
    asking = sum(Operations.of(shapes, whole).asking * count for whole, count in zip(wholes, held, strict=True))
    tokens = sum(example.tokens * count for example, count in zip(examples, held, strict=True))
    return {
        "model": model.name,
        "window": model.window,
        "heads": f"{shapes.layers} layers x {shapes.heads} heads of {shapes.head_size} channels",
        "key_value_heads": shapes.key_value_heads,
        "scales": {"seal-h": shapes.layers * shapes.heads, "seal-c": shapes.layers * shapes.heads * shapes.head_size},
        "contexts": contexts,
        "questions": questions,
        "longest_prompt": max(whole.longest_prompt for whole in wholes),
        "tokens": round(tokens * readings),
        "weights_gb": round(shapes.weights / 1e9, 2),
        **{name: round(size / 1e9, 2) for name, size in peaks.items()},
        "tuning_seconds": round(tuning * readings / rate),
        "asking_seconds": round(asking / rate),
    }
