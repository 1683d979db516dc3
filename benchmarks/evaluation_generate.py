# SPDX-License-Identifier: Apache-2.0
"""Line records -> seconds to answer them by the tuned model, here and by `model.generate` a question at a time.

Both sides begin with the text and end with token ids, by the same model with the same adapter attached; the answers are
compared id by id.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pairing import Asked, Comparison, Figures, Side, spread

MODULE = "evaluation_generate"


def comparisons(asked: Asked) -> list[Comparison]:
    """One comparison: test records of 40 lines, eight questions each. UsageError where there is no adapter."""
    size = {"lines": 6, "questions": 2, "contexts": 1} if asked.quick else {"lines": 40, "questions": 8, "contexts": 4}
    settings = {**size, **asked.adapter_settings()}
    asked_in_all = size["questions"] * size["contexts"]
    sides = {
        "ours": Side("seal", settings, 15 + 0.4 * asked_in_all),
        "generate": Side("generate", settings, 15 + 2.5 * asked_in_all),
    }
    return [Comparison("evaluation_vs_generate", MODULE, sides, asked.repeats)]


def seal(lines: int, questions: int, contexts: int, adapter: str, adapter_digest: str) -> Figures:
    """Answers over shared prefixes, the references as drafts."""
    import measuring
    from seal_attention.generation import answer_questions, stop_ids

    loaded = measuring.load_model()
    stops = stop_ids(loaded.model, loaded.encoder.end_of_turn)
    answers = []
    with measuring.tuned(loaded.model, adapter):
        answer_questions(loaded.model, measuring.warm_up(loaded.encoder), stops)
        started = time.perf_counter()
        for sample in _samples(lines, questions, contexts):
            found = answer_questions(loaded.model, loaded.encoder.encode(sample), stops)
            answers += [list(answer.ids) for answer in found]
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "answers": answers}


def generate(lines: int, questions: int, contexts: int, adapter: str, adapter_digest: str) -> Figures:
    """Answers by transformers' greedy generation, a whole prompt each."""
    import torch

    import measuring
    from seal_attention.generation import stop_ids

    loaded = measuring.load_model()
    model, encoder = loaded.model, loaded.encoder
    stops = sorted(stop_ids(model, encoder.end_of_turn))

    def answered(sample: Any, question: Any) -> list[int]:
        ids = torch.tensor([encoder.prompt_ids(sample, question)])
        written = model.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=sample.max_new_tokens,
            do_sample=False,
            eos_token_id=stops,
            pad_token_id=stops[0],
        )
        return written[0, ids.shape[1] :].tolist()

    with measuring.tuned(model, adapter):
        warm = measuring.warm_up(encoder).sample
        answered(warm, warm.questions[0])
        started = time.perf_counter()
        samples = _samples(lines, questions, contexts)
        answers = [answered(sample, question) for sample in samples for question in sample.questions]
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "answers": answers}


def _samples(lines: int, questions: int, contexts: int) -> list[Any]:
    from seal_attention.tasks.lines import Lines

    return [Lines(lines, questions).sample(0, "test", index) for index in range(contexts)]


def summarise(_comparison: Comparison, repeats: Sequence[Mapping[str, Figures]]) -> Figures:
    """The ratio of the seconds, and how many answers differ in the worst repeat."""
    differing = [
        sum(a != b for a, b in zip(sides["ours"]["answers"], sides["generate"]["answers"], strict=True))
        for sides in repeats
    ]
    return {
        "ratios": {
            "evaluation_vs_generate": spread(
                [sides["generate"]["seconds"] / sides["ours"]["seconds"] for sides in repeats]
            )
        },
        "differing_answers": max(differing),
        "questions": len(repeats[0]["ours"]["answers"]),
    }
