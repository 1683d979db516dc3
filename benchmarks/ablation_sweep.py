# SPDX-License-Identifier: Apache-2.0
"""The tuned model and 50 questions -> seconds to try it without each of its heads: one sweep, or an evaluation a head.

The separate evaluations are timed for a few heads and extrapolated to all, which the figures say. They are made in two
ways, by greedy answers (`answer_questions`) and by the reference answers' logits alone, as the sweep judges; the faster
counts.
"""

from __future__ import annotations

import collections
import importlib.util
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairing import Asked, Comparison, Figures, Side, spread
from seal_attention.errors import UsageError

MODULE = "ablation_sweep"
SWEEP = "seal_attention.probing.ablation"
SEPARATE = {"separate_answers": True, "separate_references": False}  # whether the answers are written


def comparisons(asked: Asked) -> list[Comparison]:
    """One comparison. UsageError where the sweep or the adapter is missing."""
    if not _has_sweep():
        raise UsageError(f"this version has no {SWEEP}, so there is no sweep to time; install one that has it")
    size = {"lines": 6, "questions": 2, "contexts": 1} if asked.quick else {"lines": 40, "questions": 10, "contexts": 5}
    settings = {**size, **asked.adapter_settings()}
    in_all, timed = size["questions"] * size["contexts"], 1 if asked.quick else 3
    sides = {"ours": Side("ours_ablation", settings, 15 + 18 * in_all)}
    for name, written in SEPARATE.items():
        sides[name] = Side("separate", {**settings, "timed": timed, "written": written}, 15 + 0.4 * timed * in_all)
    return [Comparison("ablation_sweep", MODULE, sides, asked.repeats)]


def _has_sweep() -> bool:
    try:
        return importlib.util.find_spec(SWEEP) is not None
    except ModuleNotFoundError:  # the package that would hold it
        return False


def ours_ablation(lines: int, questions: int, contexts: int, adapter: str, adapter_digest: str) -> Figures:
    """One sweep over all heads of each context."""
    import measuring
    from seal_attention import adapters

    ablation = importlib.import_module(SWEEP)
    loaded = measuring.load_model()
    tuned = adapters.load(Path(adapter), loaded.model)
    heads = ablation.all_heads(loaded.model)

    def swept(example: Any, some: Sequence[Any]) -> None:
        collections.deque(ablation.ablate(loaded.model, example, some, adapter=tuned), maxlen=0)

    examples = _examples(loaded.encoder, lines, questions, contexts)
    swept(measuring.warm_up(loaded.encoder), heads[:1])
    started = time.perf_counter()
    for example in examples:
        swept(example, heads)
    return {"seconds": time.perf_counter() - started, "heads": len(heads)}


def separate(
    lines: int, questions: int, contexts: int, adapter: str, adapter_digest: str, timed: int, written: bool
) -> Figures:
    """An evaluation a head, its scale at 0; a few heads spread over the layers are timed, all are extrapolated."""
    import torch

    import measuring
    from seal_attention import adapters
    from seal_attention.generation import answer_questions, stop_ids
    from seal_attention.packing import answer_logits
    from seal_attention.shared_prefix import PrefixCache

    loaded = measuring.load_model()
    model = loaded.model
    stops = stop_ids(model, loaded.encoder.end_of_turn)

    @torch.no_grad()
    def judged(example: Any) -> None:
        if written:
            answer_questions(model, example, stops)
        else:
            answer_logits(model, example.questions, PrefixCache.prefill(model, example.prefix_ids))

    heads = _heads(model)
    examples = _examples(loaded.encoder, lines, questions, contexts)
    each = []
    with measuring.tuned(model, adapter):
        judged(measuring.warm_up(loaded.encoder))
        for place in range(timed):
            projection, head = heads[(2 * place + 1) * len(heads) // (2 * timed)]
            without = adapters.Scales("seal-h", model.projections)
            with torch.no_grad():
                without.values[projection.name][head] = 0.0
            started = time.perf_counter()
            with without.attached(model):
                for example in examples:
                    judged(example)
            each.append(time.perf_counter() - started)
    whole = sum(each) / timed * len(heads)
    return {"seconds": whole, "extrapolated": True, "timed_heads": timed, "heads": len(heads), "each": each}


def _heads(model: Any) -> list[tuple[Any, int]]:
    """Every head with its output projection, from the first layer up."""
    return [(projection, head) for projection in model.projections for head in range(projection.heads)]


def _examples(encoder: Any, lines: int, questions: int, contexts: int) -> list[Any]:
    from seal_attention.tasks.lines import Lines

    return [encoder.encode(Lines(lines, questions).sample(0, "test", index)) for index in range(contexts)]


def summarise(_comparison: Comparison, repeats: Sequence[Mapping[str, Figures]]) -> Figures:
    """The ratio of the seconds to the faster way, theirs extrapolated, and that of each way."""
    each = {name: [sides[name]["seconds"] / sides["ours"]["seconds"] for sides in repeats] for name in SEPARATE}
    return {
        "ratios": {"ablation_sweep": spread([min(pair) for pair in zip(*each.values(), strict=True)])},
        "each": {f"{name} / ours": spread(values) for name, values in each.items()},
        "extrapolated": list(SEPARATE),
    }
