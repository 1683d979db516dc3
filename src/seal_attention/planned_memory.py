# SPDX-License-Identifier: Apache-2.0
"""A tuning step's sizes and a model's shapes -> the step's peak memory (docs/memory.md, against measurements)."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from .extension import far_queries
from .models import LoadedModel
from .packing import packs
from .prompts import Example
from .saved_tensors import LONG
from .shapes import FLOAT32, Shapes
from .shared_prefix import forgets

HOLES = 3  # times what a layer keeps: what its temporaries leave taken and unused on a CPU (docs/memory.md)


@dataclass(frozen=True)
class Step:
    """Sizes of a tuning step in tokens: the `prefix`, and of one batch of questions all that is `asked` (with the
    answers) and the `answers` alone; how many `batches`; the `copies` of the prefix's keys and values in a batch; how
    often attention past the window turns its queries for `far` keys."""

    prefix: int
    asked: int
    answers: int
    batches: int = 1
    copies: int = 1
    far: int = 0

    @classmethod
    def of(cls, model: LoadedModel, example: Example, batch: int, spread: int = 0) -> Step:
        """The sizes of a step on the example, its largest batch taken for all; its tokens may be `spread` so far."""
        starts = range(0, len(example.questions), batch)
        batches = [example.questions[start : start + batch] for start in starts]
        lengths = [[len(q.suffix_ids) + len(q.answer_ids) - 1 for q in questions] for questions in batches]
        answers = max(sum(len(q.answer_ids) for q in questions) for questions in batches)
        far = far_queries(model, max(example.longest_prompt, spread))
        if packs(model, forgets(model)):  # in one row
            return cls(len(example.prefix_ids), max(map(sum, lengths)), answers, len(batches), far=far)
        asked = max(len(row) * max(row) for row in lengths)
        return cls(len(example.prefix_ids), asked, answers, len(batches), max(map(len, lengths)), far)


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak on the device, and beside it what was moved to the host."""

    device: int
    host: int


def tuning_memory(shapes: Shapes, step: Step, checkpoint: bool, offload: bool = False, frozen: bool = False) -> Memory:
    """Peak memory of a tuning step, without the interpreter (docs/memory.md says the terms one by one).

    The weights and what is kept of the prefix stay throughout; to them comes the larger of two: a batch of questions
    with its graph, or the gradients on their way through the prefix, of which a `frozen` one has none.
    """
    weights, lean = shapes.weights, step.prefix >= LONG
    cache = gradients = step.prefix * shapes.cache
    if frozen:
        kept = gradients = sending = 0
    elif checkpoint:
        kept = step.prefix * shapes.layers * shapes.hidden * shapes.item  # each layer's input
        recomputed = shapes.layer(step.prefix, step.far, lean) * (1 + HOLES if shapes.host else 1)
        sending = gradients + recomputed + step.prefix * shapes.layer_gradients
    else:  # a graph, in which the cache is counted; of the last layer it has the keys and values alone
        kept = (shapes.layers - 1) * shapes.layer(step.prefix, step.far, lean) + cache // shapes.layers
        cache = 0
        sending = gradients + step.prefix * shapes.layer_gradients
    moved = kept if checkpoint and offload else 0

    attended = step.copies * step.prefix + step.asked
    joined = attended * shapes.cache  # the prefix's keys and values with the questions' own behind them
    turned = step.copies * step.prefix * shapes.cache // 2 if step.far else 0  # the prefix's keys as the far ones
    repeated = attended * shapes.repeated
    questions = shapes.layers * shapes.layer(step.asked, step.far, lean)
    logits = step.answers * shapes.vocabulary * (shapes.item + FLOAT32)
    earlier = gradients if step.batches > 1 else 0
    asking = cache + joined + turned + repeated + questions + logits + earlier
    return Memory(weights + kept - moved + max(asking, sending), moved)


def process_memory(shapes: Shapes) -> int:
    """Bytes that a tuning process holds on the host besides: the interpreter with its libraries, as this one has them.

    On a CPU also a copy of the output embedding, which a matrix product in bfloat16 lays out anew each time.
    """
    packed = shapes.embeddings * shapes.item if shapes.host and shapes.item == 2 else 0
    return psutil.Process().memory_info().rss + packed
