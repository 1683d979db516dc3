# SPDX-License-Identifier: Apache-2.0
"""A length in tokens -> seconds a question and memory of tuning, here and in transformers.Trainer with PEFT.

Line records with eight questions each; both sides take the same samples, loss positions and exact gradients. Here the
questions share one pass over their context (SEAL-C); Trainer reads a full prompt a question, with (IA)^3 on the output
projections or LoRA on the attention's four. The ratio is the better of the two peers' figure by ours, pair by pair.
"""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pairing import Asked, Comparison, Figures, Side, spread
from seal_attention.samples import tokens_name

MODULE = "tuning_cost"
RATE = 3e-2
LOGIT_BYTES = 16  # of a vocabulary logit in Trainer's loss: bfloat16, float32, its log-softmax, a gradient of each kind
PEERS, CHECKPOINTED_PEERS = ("trainer_ia3", "trainer_lora"), ("trainer_ia3_checkpoint",)


@dataclass(frozen=True)
class Extent:
    """What is measured at a length: contexts of ours, questions of Trainer's; `memory` adds the checkpointed forms."""

    length: int
    questions: int
    contexts: int
    peer_questions: int
    memory: bool


FULL = (Extent(1024, 8, 3, 8, False), Extent(4096, 8, 2, 2, True), Extent(8192, 8, 1, 1, True))
QUICK = (Extent(320, 2, 1, 1, False), Extent(384, 2, 1, 1, True))


def comparisons(asked: Asked) -> list[Comparison]:
    """One comparison a length."""
    return [_comparison(extent, asked) for extent in (QUICK if asked.quick else FULL)]


def _comparison(extent: Extent, asked: Asked) -> Comparison:
    peer_questions = asked.peer_questions or extent.peer_questions
    shape = {"length": extent.length, "questions": extent.questions}
    here = {**shape, "contexts": extent.contexts}
    there = {**shape, "peer_questions": peer_questions}
    long = extent.length / 1024 * (1 + extent.length / 8192)  # guesses of seconds follow: attention grows as the square
    ours_seconds = 15 + 0.3 * long * extent.questions * extent.contexts
    peer_seconds = 20 + 2.2 * long * peer_questions
    sides = {"ours": Side("seal", {**here, "checkpoint": False}, ours_seconds)}
    sides["trainer_ia3"] = Side("trainer", {**there, "method": "ia3", "checkpoint": False}, peer_seconds)
    if extent.memory:
        sides["ours_checkpoint"] = Side("seal", {**here, "checkpoint": True}, ours_seconds)
    sides["trainer_lora"] = Side("trainer", {**there, "method": "lora", "checkpoint": False}, 1.2 * peer_seconds)
    if extent.memory:
        checkpointed = {**there, "method": "ia3", "checkpoint": True}
        sides["trainer_ia3_checkpoint"] = Side("trainer", checkpointed, 1.3 * peer_seconds)
    return Comparison(f"tuning_{tokens_name(extent.length)}", MODULE, sides, asked.repeats)


def seal(length: int, questions: int, contexts: int, checkpoint: bool) -> Figures:
    """SEAL-C steps, a context each."""
    import torch

    import measuring
    from seal_attention import adapters
    from seal_attention.objective import accumulate_gradients

    loaded = measuring.load_model()
    model = loaded.model
    adapter = adapters.create("seal-c", model)
    optimizer = torch.optim.AdamW(adapter.parameters().values(), lr=RATE, weight_decay=0.0)
    examples = measuring.contexts(loaded.encoder, length, questions, contexts)
    seconds = []
    with adapter.attached(model):
        for example in (measuring.warm_up(loaded.encoder), *examples):
            started = time.perf_counter()
            optimizer.zero_grad()
            accumulate_gradients(model, example, batch=questions, checkpoint=checkpoint)
            optimizer.step()
            seconds.append((time.perf_counter() - started) / questions)
    return _figures(seconds[1:], loaded.memory_above_weights(), max(example.longest_prompt for example in examples))


def trainer(length: int, questions: int, peer_questions: int, method: str, checkpoint: bool) -> Figures:
    """One step of Trainer over that many questions of the same contexts, after one on a short prompt."""
    import psutil
    from transformers import TrainerCallback

    import measuring
    import trainer_peer

    loaded = measuring.load_model()
    examples = measuring.contexts(loaded.encoder, length, questions, -(-peer_questions // questions))
    rows = [trainer_peer.row_of(example, question) for example in examples for question in example.questions]
    needed, free = _needed(loaded.model, length, checkpoint), psutil.virtual_memory().available
    if needed > free:
        return {"does_not_fit": {"needed_bytes": needed, "free_bytes": free}}
    short = measuring.warm_up(loaded.encoder)
    stamps: list[float] = []

    class Stamps(TrainerCallback):
        """The time at which each question is done."""

        def on_substep_end(self, *_args: Any, **_kwargs: Any) -> None:
            stamps.append(time.perf_counter())

        def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
            stamps.append(time.perf_counter())

    trainer_peer.train(
        trainer_peer.wrapped(loaded.model, method),
        [trainer_peer.row_of(short, short.questions[0]), *rows[:peer_questions]],
        Stamps(),
        rows_a_step=1 + peer_questions,
        rate=RATE,
        checkpoint=checkpoint,
    )
    seconds = [later - earlier for earlier, later in itertools.pairwise(stamps)]
    return _figures(seconds, loaded.memory_above_weights(), max(len(row["input_ids"]) for row in rows))


def _needed(model: Any, length: int, checkpoint: bool) -> int:
    """Bytes that a step of Trainer takes: what `seal plan` counts, and logits of every position."""
    from seal_attention.planned_memory import Step, tuning_memory
    from seal_attention.shapes import Shapes

    shapes = Shapes.of(model, model.model.dtype, model.device)
    logits = LOGIT_BYTES * length * model.model.config.vocab_size
    return tuning_memory(shapes, Step(length, 0, 1), checkpoint).device + logits


def _figures(seconds: Sequence[float], memory: int, tokens: int) -> Figures:
    return {
        "seconds": sum(seconds) / len(seconds),
        "each": [round(value, 4) for value in seconds],
        "memory_bytes": memory,
        "longest": tokens,
    }


def summarise(comparison: Comparison, repeats: Sequence[Mapping[str, Figures]]) -> Figures:
    """The headline ratios (the better peer by ours; checkpointed only where nothing else fits) and those of each."""
    label = comparison.name.removeprefix("tuning_")
    headline: dict[str, list[float]] = defaultdict(list)
    each: dict[str, list[float]] = defaultdict(list)
    for sides in repeats:
        plain, lean = sides["ours"], sides.get("ours_checkpoint")
        fitting = {name: figures for name, figures in sides.items() if "trainer" in name and "seconds" in figures}
        peers = [name for name in PEERS if name in fitting] or [name for name in CHECKPOINTED_PEERS if name in fitting]
        if peers:
            seconds = min(fitting[name]["seconds"] for name in peers)
            headline[f"tuning_seconds_per_question_{label}"].append(seconds / plain["seconds"])
        if peers and lean:
            memory = min(fitting[name]["memory_bytes"] for name in peers)
            headline[f"tuning_memory_{label}"].append(memory / lean["memory_bytes"])
        for name, theirs in fitting.items():
            for form, ours in (("ours", plain), ("ours_checkpoint", lean)):
                if ours:
                    each[f"seconds: {name} / {form}"].append(theirs["seconds"] / ours["seconds"])
                    each[f"memory: {name} / {form}"].append(theirs["memory_bytes"] / ours["memory_bytes"])
    return {
        "ratios": {name: spread(values) for name, values in headline.items()},
        "each": {name: spread(values) for name, values in each.items()},
    }
