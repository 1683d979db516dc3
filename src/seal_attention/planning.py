# SPDX-License-Identifier: Apache-2.0
"""A job's sizes and a model's shapes -> tokens, estimated peak memory and time, before anything long starts.

The model is built without its weights; the machine's speed is measured on one matrix product of the model's own shape,
what the interpreter takes on this very process. docs/memory.md holds the formula of the memory against measurements.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from .models import LoadedModel
from .packing import packs
from .prompts import Encoder, Example, require_fit
from .samples import Sample
from .shared_prefix import forgets

EFFICIENCY = 0.3  # of the measured matrix-product rate that a whole step reaches (docs/results.md)
HOLES = 3  # times what a layer keeps: what its temporaries leave taken and unused on a CPU (docs/memory.md)
FLOAT32 = 4  # bytes: the attention's log-sums and the loss are computed in it whatever the weights are


@dataclass(frozen=True)
class Shapes:
    """What memory and time depend on; `parameters` without the embeddings, `item` bytes a number.

    `host` where host and device share one memory and one allocator, as on a CPU.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_size: int
    vocabulary: int
    parameters: int
    embeddings: int
    item: int
    host: bool = True

    @classmethod
    def of(cls, model: LoadedModel, dtype: torch.dtype, device: torch.device) -> Shapes:
        """The shapes of a loaded or weightless model."""
        text: Any = model.model.config.get_text_config(decoder=True)
        embeddings = model.model.get_input_embeddings().weight
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
            embeddings.shape[0],
            total - embeddings.numel(),
            embeddings.numel(),
            torch.finfo(dtype).bits // 8,
            device.type == "cpu",
        )

    def layer(self, tokens: int) -> int:
        """Bytes that one layer keeps for its backward pass; the weights are frozen, so that no linear's input.

        Two norms' inputs (saved_tensors.py); the gated MLP's gate, its activation and what it multiplies; of the
        attention queries, output, keys, values and a log-sum a head.
        """
        norms = 2 * self.item * self.hidden
        perceptron = 3 * self.item * self.intermediate
        attention = self.item * self.head_size * 2 * (self.heads + self.key_value_heads) + FLOAT32 * self.heads
        return tokens * (norms + perceptron + attention)

    @property
    def layer_gradients(self) -> int:
        """Bytes a token of the gradients that one layer's backward pass holds at once: in the gated MLP."""
        return self.item * (3 * self.intermediate + 2 * self.hidden)

    @property
    def cache(self) -> int:
        """Bytes a token of keys and values in all layers."""
        return 2 * self.layers * self.key_value_heads * self.head_size * self.item

    @property
    def repeated(self) -> int:
        """Bytes a token of keys and values repeated for each query head, as masked attention keeps them on a GPU."""
        if self.host or self.heads == self.key_value_heads:  # blockwise.py copies nothing
            return 0
        return 2 * self.layers * self.heads * self.head_size * self.item


@dataclass(frozen=True)
class Step:
    """Sizes of a tuning step in tokens: the `prefix`, and of one batch of questions all that is `asked` (with the
    answers) and the `answers` alone; how many `batches`; the `copies` of the prefix's keys and values in a batch."""

    prefix: int
    asked: int
    answers: int
    batches: int = 1
    copies: int = 1

    @classmethod
    def of(cls, model: LoadedModel, example: Example, batch: int) -> Step:
        """The sizes of a step on the example, its largest batch taken for all."""
        starts = range(0, len(example.questions), batch)
        batches = [example.questions[start : start + batch] for start in starts]
        lengths = [[len(q.suffix_ids) + len(q.answer_ids) - 1 for q in questions] for questions in batches]
        answers = max(sum(len(q.answer_ids) for q in questions) for questions in batches)
        if packs(model, forgets(model)):  # in one row
            return cls(len(example.prefix_ids), max(map(sum, lengths)), answers, len(batches))
        asked = max(len(row) * max(row) for row in lengths)
        return cls(len(example.prefix_ids), asked, answers, len(batches), max(map(len, lengths)))


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak on the device, and beside it what was moved to the host."""

    device: int
    host: int


def tuning_memory(shapes: Shapes, step: Step, checkpoint: bool, offload: bool = False) -> Memory:
    """Peak memory of a tuning step, without the interpreter (docs/memory.md says the terms one by one).

    The weights and what is kept of the prefix stay throughout; to them comes the larger of two: a batch of questions
    with its graph, or the gradients on their way through the prefix.
    """
    weights = (shapes.parameters + shapes.embeddings) * shapes.item
    cache = gradients = step.prefix * shapes.cache
    if checkpoint:
        kept = step.prefix * shapes.layers * shapes.hidden * shapes.item  # each layer's input
        recomputed = shapes.layer(step.prefix) * (1 + HOLES if shapes.host else 1)
    else:  # a graph, in which the cache is counted; of the last layer it has the keys and values alone
        kept = (shapes.layers - 1) * shapes.layer(step.prefix) + cache // shapes.layers
        cache = recomputed = 0
    moved = kept if checkpoint and offload else 0

    attended = step.copies * step.prefix + step.asked
    joined = attended * shapes.cache  # the prefix's keys and values with the questions' own behind them
    repeated = attended * shapes.repeated
    questions = shapes.layers * shapes.layer(step.asked)
    logits = step.answers * shapes.vocabulary * (shapes.item + FLOAT32)
    earlier = gradients if step.batches > 1 else 0
    asking = cache + joined + repeated + questions + logits + earlier

    sending = gradients + recomputed + step.prefix * shapes.layer_gradients
    return Memory(weights + kept - moved + max(asking, sending), moved)


def process_memory(shapes: Shapes) -> int:
    """Bytes that a tuning process holds on the host besides: the interpreter with its libraries, as this one has them.

    On a CPU also a copy of the output embedding, which a matrix product in bfloat16 lays out anew each time.
    """
    packed = shapes.embeddings * shapes.item if shapes.host and shapes.item == 2 else 0
    return psutil.Process().memory_info().rss + packed


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
    times = 3.0 if checkpoint else 2.0
    tuning = sum(passes(shapes, example, times) * count for example, count in zip(examples, held, strict=True))
    asking = sum(passes(shapes, whole, 1.0) * count for whole, count in zip(wholes, held, strict=True))
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
        "weights_gb": round((shapes.parameters + shapes.embeddings) * shapes.item / 1e9, 2),
        **{name: round(size / 1e9, 2) for name, size in peaks.items()},
        "tuning_seconds": round(tuning * readings / rate),
        "asking_seconds": round(asking / rate),
    }
