# SPDX-License-Identifier: Apache-2.0
"""A question -> which tokens of its prompt hold the fact that answers it, and which of its target spell the answer.

Places come from the text and the tokenizer's own offsets. Retrieval_Head looks instead for a window of as many tokens
as the answer has alone that holds nine in ten of them, which may begin too early or be another place.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError
from ..facts import Fact, find_fact, line_around, whole_words
from ..prompts import Encoder
from ..samples import Question, Sample


@dataclass(frozen=True)
class Spans:
    """Token places in a prompt: `fact`, the needle or line that holds the answer; `answer`, the answer in it;
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
    fact = _fact_in(context, question) if start >= 0 else None
    if fact is None or fact.answer is None:
        raise UsageError(
            f"the answer {question.answers[0]!r} of {sample.identifier} does not stand in its context, so no head can "
            "be seen reading it; choose a task such as lines, needle or niah_single_1"
        )
    asked = question.text.strip()
    behind = text.find(asked, start + len(context)) if asked else start + len(context)
    return Spans(
        fact=_tokens(offsets, start + fact.whole[0], start + fact.whole[1]),
        answer=_tokens(offsets, start + fact.answer[0], start + fact.answer[1]),
        asked=_tokens(offsets, behind, behind + len(asked)) if behind >= 0 else range(0),
    )


def answer_tokens(encoder: Encoder, question: Question) -> range:
    """Which of the target's ids spell the answer: all but the end of the turn where the target says it otherwise."""
    encoded = encoder.tokenizer(question.target, add_special_tokens=False, return_offsets_mapping=True)
    offsets = [(start, end) for start, end in encoded["offset_mapping"]]
    place = question.target.find(question.answers[0])
    held = _tokens(offsets, place, place + len(question.answers[0])) if place >= 0 else range(0)
    return held or range(len(offsets))


def _fact_in(context: str, question: Question) -> Fact | None:
    """The fact; where nothing tells it from others, the first place of the answer, behind the key if one is named."""
    if found := find_fact(context, question):
        return found
    key = question.meta.get("key")
    named = whole_words(key).search(context) if key else None
    held = whole_words(question.answers[0]).search(context, named.end() if named else 0)
    return Fact(line_around(context, held.span()), held.span()) if held else None


def _tokens(offsets: tuple[tuple[int, int], ...] | list[tuple[int, int]], start: int, end: int) -> range:
    """The tokens that hold any of the characters; offsets rise."""
    held = [place for place, (first, behind) in enumerate(offsets) if first < end and behind > start]
    return range(held[0], held[-1] + 1) if held else range(0)
