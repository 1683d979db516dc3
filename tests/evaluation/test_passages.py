# SPDX-License-Identifier: Apache-2.0
"""What a prediction keeps of the text around the fact that was asked for."""

from __future__ import annotations

import pytest

from seal_attention.evaluation.cells import AROUND, passage
from seal_attention.samples import Question
from seal_attention.tasks.lines import Lines

TEXT = "a" * 200 + " line old-key: <41>\nline odd-key: <4>\n" + "b" * 200


def asked(answer: str = "4", **meta: str) -> Question:
    return Question("?", (answer,), answer, meta=meta)


def test_a_key_with_its_answer_is_kept_with_the_text_on_both_sides() -> None:
    before, fact, after = passage(TEXT, asked(key="odd-key"))["passage"]
    assert fact == "odd-key: <4"
    assert before + fact + after in TEXT
    assert (len(before), len(after)) == (AROUND, AROUND)


def test_a_needle_is_kept_whole_whatever_the_answer() -> None:
    assert passage(TEXT, asked(needle="line odd-key: <4>"))["passage"][1] == "line odd-key: <4>"


@pytest.mark.parametrize("meta", [{}, {"key": "no-key"}, {"needle": "of another text"}, {"key": "old-key"}])
def test_nothing_is_kept_that_is_not_there_or_has_another_answer(meta: dict[str, str]) -> None:
    assert passage(TEXT, asked(**meta)) == {}  # old-key's is 41, and odd-key's 4 stands on the next line


def test_every_question_about_lines_finds_its_line() -> None:
    sample = Lines(20, 20).sample(0, "test", 0)
    for question in sample.questions:
        fact = passage(sample.context, question)["passage"][1]
        assert fact == f"{question.meta['key']}: REGISTER_CONTENT is <{question.answers[0]}"
