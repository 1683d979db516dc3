# SPDX-License-Identifier: Apache-2.0
"""A question -> which tokens of its prompt hold the fact that answers it, and which of its target spell the answer.

Places come from the text and the tokenizer's own offsets. Retrieval_Head looks instead for a window of as many tokens
as the answer has alone that holds nine in ten of them, which may begin too early or be another place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..errors import UsageError
from ..prompts import Encoder
from ..samples import Question, Sample


@dataclass(frozen=True)
class Spans:
    """Token places in a prompt: `fact`, the sentence or line that holds the answer; `answer`, the answer in it;
    `asked`, the question (empty where its words belong to the context)."""

    fact: range
    answer: range
    asked: range


def spans(encoder: Encoder, sample: Sample, question: Question) -> Spans:
    """Where a prompt holds its fact, answer and question.

    UsageError where the first of the question's answers does not stand in the context, word for word.
    """
    text = encoder.prompt_text(sample, question)
    offsets = encoder.prompt_offsets(sample, question)
    context = sample.context.strip()  # templates may strip a turn
    start = text.find(context)
    answer = _answer_in(context, question) if start >= 0 else None
    if answer is None:
        raise UsageError(
            f"the answer {question.answers[0]!r} of {sample.identifier} does not stand in its context, so no head can "
            "be seen reading it; choose a task such as lines, needle or niah_single_1"
        )
    fact = _fact_around(context, question, *answer)
    asked = question.text.strip()
    behind = text.find(asked, start + len(context)) if asked else start + len(context)
    return Spans(
        fact=_tokens(offsets, start + fact[0], start + fact[1]),
        answer=_tokens(offsets, start + answer[0], start + answer[1]),
        asked=_tokens(offsets, behind, behind + len(asked)) if behind >= 0 else range(0),
    )


def answer_tokens(encoder: Encoder, question: Question) -> range:
    """Which of the target's ids spell the answer: all but the end of the turn where the target says it otherwise."""
    encoded = encoder.tokenizer(question.target, add_special_tokens=False, return_offsets_mapping=True)
    offsets = [(start, end) for start, end in encoded["offset_mapping"]]
    place = question.target.find(question.answers[0])
    held = _tokens(offsets, place, place + len(question.answers[0])) if place >= 0 else range(0)
    return held or range(len(offsets))


def _answer_in(context: str, question: Question) -> tuple[int, int] | None:
    """The answer's characters in the context: the first after the key or inside the needle that the task names."""
    named = question.meta.get("needle") or question.meta.get("key")
    hint = _word(str(named)).search(context) if named else None
    start = 0 if hint is None else hint.start() if "needle" in question.meta else hint.end()
    found = _word(question.answers[0]).search(context, start)
    return found.span() if found else None


def _fact_around(context: str, question: Question, start: int, end: int) -> tuple[int, int]:
    """The needle around the answer, or the line of text that the answer stands in."""
    needle = question.meta.get("needle")
    if needle is not None and (place := context.rfind(needle, 0, end + len(needle))) >= 0:
        return place, place + len(needle)
    behind = context.find("\n", end)
    return context.rfind("\n", 0, start) + 1, behind if behind >= 0 else len(context)


def _word(text: str) -> re.Pattern[str]:
    """The text as whole words."""
    return re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")


def _tokens(offsets: tuple[tuple[int, int], ...] | list[tuple[int, int]], start: int, end: int) -> range:
    """The tokens that hold any of the characters; offsets rise."""
    held = [place for place, (first, behind) in enumerate(offsets) if first < end and behind > start]
    return range(held[0], held[-1] + 1) if held else range(0)
