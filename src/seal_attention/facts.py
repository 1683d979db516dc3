# SPDX-License-Identifier: Apache-2.0
"""A context and a question -> where the text states the fact that answers it, and the answer in that.

A task that names its needle or its key says which fact is meant. Where none is named the answer's own words tell, if
they are no chance words and stand in one place alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .samples import Question

TELLING = 5  # characters: shorter answers (yes, B, 7) may stand anywhere by chance
AROUND = 120  # characters: the most between a key and its answer, and to either end of a line that is taken whole

Place = tuple[int, int]  # of characters, the second behind the last


@dataclass(frozen=True)
class Fact:
    """Places in a context: the needle, line or words that state a fact, and the answer in them.

    `answer` is None where a needle says it in other words.
    """

    whole: Place
    answer: Place | None


def find_fact(context: str, question: Question) -> Fact | None:
    """The fact that answers the question; None where the text holds none, or not one alone."""
    if not (question.answers and question.answers[0].strip()):
        return None
    answer = whole_words(question.answers[0])
    if needle := question.meta.get("needle"):
        start = context.find(needle)
        held = answer.search(context, start, start + len(needle)) if start >= 0 else None
        return Fact((start, start + len(needle)), held and held.span()) if start >= 0 else None
    if key := question.meta.get("key"):
        close = re.compile(f"{whole_words(key).pattern}.{{0,{AROUND}}}?({answer.pattern})")
        named = close.search(context)
        return Fact(line_around(context, named.span()), named.span(1)) if named else None
    places = [held.span() for held in answer.finditer(context)]
    if len(question.answers[0]) < TELLING or not places or places[-1][1] - places[0][0] > AROUND:
        return None
    return Fact(line_around(context, (places[0][0], places[-1][1])), places[0])


def whole_words(text: str) -> re.Pattern[str]:
    """The text, not as a part of longer words."""
    return re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")


def line_around(context: str, place: Place) -> Place:
    """The line of text that holds the place, or the place alone where the line is long (or there are several)."""
    start, end = place
    first, behind = context.rfind("\n", 0, start) + 1, context.find("\n", end)
    behind = behind if behind >= 0 else len(context)
    return (first, behind) if start - first <= AROUND and behind - end <= AROUND else place
