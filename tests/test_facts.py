# SPDX-License-Identifier: Apache-2.0
"""The place where a text states the fact that was asked for, and what a prediction keeps of it."""

from __future__ import annotations

import pytest

from seal_attention.evaluation.cells import kept_of
from seal_attention.facts import AROUND, find_fact
from seal_attention.samples import Question, Sample
from seal_attention.tasks.lines import Lines
from seal_attention.tasks.passkey import Passkey

TEXT = "a" * 200 + " line old-key: <41>\nline odd-key: <4>\n" + "b" * 200


def asked(answer: str = "4", **meta: str) -> Question:
    return Question("?", (answer,), answer, meta=meta)


def found_in(text: str, question: Question) -> str | None:
    """The fact's words."""
    fact = find_fact(text, question)
    return fact and text[slice(*fact.whole)]


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (asked(key="odd-key"), "line odd-key: <4>"),  # a short line is taken whole
        (asked("41", key="old-key"), "old-key: <41"),  # of a long one what names the key and answers
        (asked(needle="line odd-key: <4>"), "line odd-key: <4>"),
        (asked("in other words", needle="odd-key: <4>"), "odd-key: <4>"),
        (asked("odd-key"), "line odd-key: <4>"),  # nothing is named, but this stands in one place alone
        (asked("old-key"), "old-key"),
    ],
)
def test_the_fact_is_found_by_what_the_task_names_or_by_the_only_place_of_the_answer(
    question: Question, words: str
) -> None:
    assert found_in(TEXT, question) == words


@pytest.mark.parametrize(
    "question",
    [
        asked(key="no-key"),
        asked(key="old-key"),  # its answer is 41, and 4 stands on the next line
        asked(needle="of another text"),
        asked("no-key"),
        asked("41"),  # stands in one place alone, but might by chance
        asked(" "),
        Question("?", (), "4"),
    ],
)
def test_nothing_is_found_that_is_not_there_or_has_another_answer(question: Question) -> None:
    assert find_fact(TEXT, question) is None


def test_an_answer_in_two_places_tells_nothing_in_one_line_it_does() -> None:
    far, near = f"48213 {'b' * AROUND} 48213", "x\nThe key is 48213. Remember it. 48213 is the key.\ny"
    assert find_fact(far, asked("48213")) is None
    assert found_in(near, asked("48213")) == near[2:-2]


def test_a_prediction_keeps_the_text_on_both_sides() -> None:
    kept = kept_of(Sample("s", "own", TEXT, (asked(key="odd-key"),), 5), asked(key="odd-key"))
    before, fact, after = kept["passage"]
    assert before + fact + after in TEXT
    assert (fact, len(before), len(after)) == ("line odd-key: <4>", AROUND, AROUND)


def test_every_question_about_lines_finds_its_line_and_pass_keys_theirs() -> None:
    sample = Lines(20, 20).sample(0, "test", 0)
    for question in sample.questions:
        line = f"line {question.meta['key']}: REGISTER_CONTENT is <{question.answers[0]}>"
        assert found_in(sample.context, question) == line
    hidden = Passkey(30).sample(0, "test", 0)
    (key,) = hidden.questions
    assert f"The pass key is {key.answers[0]}." in (found_in(hidden.context, key) or "")
