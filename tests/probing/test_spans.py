# SPDX-License-Identifier: Apache-2.0
"""The tokens found in a prompt read back as the fact, the answer and the question."""

from __future__ import annotations

import dataclasses

import pytest

import tiny
from seal_attention.errors import UsageError
from seal_attention.probing.spans import answer_tokens, spans
from seal_attention.prompts import Encoder
from seal_attention.samples import Question, Sample
from seal_attention.tasks.lines import Lines
from seal_attention.tasks.needle import Needle

ENCODER = Encoder(tiny.tokenizer())


def read(sample: Sample, question: Question) -> tuple[str, str, str]:
    """What the places hold, as text."""
    ids, found = ENCODER.prompt_ids(sample, question), spans(ENCODER, sample, question)
    fact, answer, asked = (ids[span.start : span.stop] for span in (found.fact, found.answer, found.asked))
    return ENCODER.tokenizer.decode(fact), ENCODER.tokenizer.decode(answer), ENCODER.tokenizer.decode(asked)


@pytest.mark.parametrize("prefixed", [False, True])
def test_a_line_its_value_and_its_question_are_found(prefixed: bool) -> None:
    sample = Lines(6, 3, prefixed).sample(0, "test", 0)
    for question in sample.questions:
        fact, answer, asked = read(sample, question)
        assert fact == f"line {question.meta['key']}: REGISTER_CONTENT is <{question.answers[0]}>"
        assert (answer, asked) == (question.answers[0], question.text.strip())


def test_a_needle_is_found_around_its_answer() -> None:
    sample = Needle(60, 2, name="needle").sample(0, "test", 0)
    for question in sample.questions:
        assert read(sample, question) == (question.meta["needle"], question.answers[0], question.text.strip())


def test_of_equal_values_the_one_after_the_key_counts() -> None:
    question = Question("What is b?", ("77",), "77", meta={"key": "b"})
    sample = Sample("s", "own", " a is 77\nb is 177 and 77\nc is 77\n", (question,), 5)
    found = spans(ENCODER, sample, question)
    first = spans(ENCODER, sample, dataclasses.replace(question, meta={}))
    assert read(sample, question)[:2] == ("b is 177 and 77", "77")
    assert first.answer.stop <= found.fact.start


def test_a_context_that_asks_its_own_question_has_no_span_for_it() -> None:
    question = Question("", ("5",), "5")
    assert spans(ENCODER, Sample("s", "own", "x is 5. What is x?", (question,), 5), question).asked == range(0)


def test_an_answer_that_is_not_in_the_context_is_refused() -> None:
    question = Question("What?", ("7",), "7")
    with pytest.raises(UsageError, match="the answer '7' of s does not stand in its context"):
        spans(ENCODER, Sample("s", "own", "There are 77 of them.", (question,), 5), question)


def test_the_answers_tokens_in_the_target_leave_out_its_wording() -> None:
    question = Question("?", ("482",), "The number 482.")
    ids = ENCODER.answer_ids(question)
    places = answer_tokens(ENCODER, question)
    assert ENCODER.tokenizer.decode(ids[places.start : places.stop]).strip() == "482"
    otherwise = dataclasses.replace(question, answers=("four hundred",))
    assert answer_tokens(ENCODER, otherwise) == range(len(ids) - 1)  # all but the end of the turn
