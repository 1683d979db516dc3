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
class Operations:
    """Floating-point operations of sending an example through a model once, and its answers through the vocabulary.

    Linears: two a parameter and token. Attention: four a head, channel, query and key, and half of the prefix's pairs,
    since a token sees its own past alone.
    """

    linears: float
    attention: float

    @classmethod
    def of(cls, shapes: Shapes, example: Example) -> Operations:
        """Those of the prefix, read once, and of every question with its answer behind it."""
        prefix = len(example.prefix_ids)
        asked = [len(question.suffix_ids) + len(question.answer_ids) - 1 for question in example.questions]
        answers = sum(len(question.answer_ids) for question in example.questions)
        pairs = prefix * prefix / 2 + sum(count * (prefix + count / 2) for count in asked)
        linears = shapes.multiplied * (prefix + sum(asked)) + shapes.embeddings * answers
        return cls(2 * linears, 4 * shapes.heads * shapes.head_size * pairs * shapes.layers)

    @property
    def asking(self) -> float:
        """Forward alone."""
        return self.linears + self.attention

    def tuning(self, checkpoint: bool) -> float:
        """Forward, again where it is recomputed, and backward: of a frozen linear its input's gradient alone."""
        forwards = 1 + checkpoint
        return (forwards + 1) * self.linears + (forwards + ATTENTION_BACKWARD) * self.attention


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
    readings: int = 1,
) -> dict[str, Any]:
    """Tokens, memory (GB) and seconds of tuning on so many contexts like the samples, and of asking them once.

    `shares` are those of the contexts that are like each sample, in any unit; the memory is that of the sample which
    takes most. `questions` are those of all contexts, of which each reading takes its share. On a CPU
    `tuning_memory_gb` is all of it; beside a GPU's there is `host_memory_gb`. UsageError where a sample exceeds the
    model's window.
    """
    encoder = Encoder(model.tokenizer)
    wholes = [encoder.encode(sample) for sample in samples]
    for whole in wholes:
        require_fit(whole, model.window)
    examples = wholes if readings == 1 else [encoder.encode(sample.share(0, readings)) for sample in samples]
    shapes = Shapes.of(model, dtype, device)
    steps = [Step.of(model, example, batch) for example in examples]
    memory = max((tuning_memory(shapes, step, checkpoint, offload) for step in steps), key=lambda peak: peak.device)
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
    tuning = sum(
        Operations.of(shapes, example).tuning(checkpoint) * count for example, count in zip(examples, held, strict=True)
    )
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
