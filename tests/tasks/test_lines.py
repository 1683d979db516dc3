# SPDX-License-Identifier: Apache-2.0
"""Claims about line retrieval: the text is LongEval's, samples are reproducible, train and test never meet."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from pathlib import Path

import pytest

from seal_attention.errors import UsageError
from seal_attention.samples import Sample
from seal_attention.tasks.lines import LINE_PATTERN, Lines, draw_keys, question_about, split_of
from seal_attention.tasks.sizing import draw, fitted, of_length, parse_counts


def test_prompt_is_longevals_word_for_word() -> None:
    sample = Lines(2).sample(0, "test", 0)
    (first, first_value), (second, second_value) = LINE_PATTERN.findall(sample.context)
    asked = sample.questions[0].meta["key"]
    assert sample.context + sample.questions[0].text == (
        "Below is a record of lines I want you to remember. Each line begins with 'line <line index>' and contains a "
        "'<REGISTER_CONTENT>' at the end of the line as a numerical value. For each line index, memorize its "
        "corresponding "
        "<REGISTER_CONTENT>. At the end of the record, I will ask you to retrieve the corresponding "
        "<REGISTER_CONTENT> of a "
        f"certain line index. Now the record start:\n\nline {first}: REGISTER_CONTENT is <{first_value}>\nline "
        f"{second}: "
        f"REGISTER_CONTENT is <{second_value}>\n\nNow the record is over. Tell me what is the <REGISTER_CONTENT> in "
        "line "
        f"{asked}? I need the number."
    )


def test_target_is_the_papers_answer_and_its_opening_can_be_given() -> None:
    plain = question_about("torpid-kid", 2416, prefixed=False)
    given = question_about("torpid-kid", 2416, prefixed=True)
    assert plain.target == "The <REGISTER_CONTENT> in line torpid-kid is 2416."
    assert given.answer_prefix + given.target == plain.target
    assert plain.answer_prefix == ""


def test_the_same_seed_gives_the_same_text_whatever_was_drawn_before() -> None:
    alone = Lines(30, 4).sample(7, "train", 5)
    assert draw(Lines(30, 4), "train", 7, 4 * 6)[5] == alone
    digest = hashlib.sha256((alone.context + alone.questions[3].text).encode()).hexdigest()
    assert digest == "73a93a6e90aef38a07083b8937124a61f688e1eb63db77bea7fd503b7a83c8c6"


@pytest.mark.parametrize("lines", [5, 900])
def test_train_and_test_share_no_key(lines: int) -> None:
    train = {key for i in range(5) for key, _ in LINE_PATTERN.findall(Lines(lines).sample(0, "train", i).context)}
    test = {key for i in range(5) for key, _ in LINE_PATTERN.findall(Lines(lines).sample(0, "test", i).context)}
    assert train
    assert not train & test
    assert {split_of(key) for key in train} == {"train"}


def test_each_adjective_stands_once_as_in_longeval() -> None:
    from seal_attention.tasks.lines import _words

    adjectives, nouns = _words()
    keys = draw_keys(random.Random(0), 200, "train")
    pairs = [
        next((a, k[len(a) + 1 :]) for a in adjectives if k.startswith(f"{a}-") and k[len(a) + 1 :] in nouns)
        for k in keys
    ]
    assert len({adjective for adjective, _ in pairs}) == 200
    assert len({noun for _, noun in pairs}) == 200


def test_more_lines_than_adjectives_have_distinct_keys_and_begin_as_fewer_do() -> None:
    sample = Lines(1500).sample(0, "test", 0)
    keys = [key for key, _ in LINE_PATTERN.findall(sample.context)]
    assert len(keys) == len(set(keys)) == 1500
    for fewer in (20, 900, 1200):  # below the number of adjectives and above
        assert sample.context.startswith(Lines(fewer).sample(0, "test", 0).context)


def test_keys_with_spaces_and_hyphens_are_read_back_whole() -> None:
    line = "line unequaled-creme brulee: REGISTER_CONTENT is <17>\nline x-rated-t-shirt: REGISTER_CONTENT is <3>\n"
    assert LINE_PATTERN.findall(line) == [("unequaled-creme brulee", "17"), ("x-rated-t-shirt", "3")]


def test_questions_ask_distinct_lines_and_hold_their_values() -> None:
    sample = Lines(20, 20).sample(3, "test", 1)
    values = dict(LINE_PATTERN.findall(sample.context))
    assert len({question.meta["key"] for question in sample.questions}) == 20
    assert all(values[question.meta["key"]] == question.answers[0] for question in sample.questions)


@pytest.mark.parametrize(("lines", "questions"), [(0, 1), (5, 6), (5, 0)])
def test_impossible_sizes_are_refused_with_the_numbers(lines: int, questions: int) -> None:
    with pytest.raises(UsageError, match=str(min(lines, questions) if lines == 0 or questions == 0 else questions)):
        Lines(lines, questions)


def test_longevals_own_case_file_is_used_byte_for_byte(tmp_path: Path) -> None:
    prompt = "Now the record start:\n\nline a-b: REGISTER_CONTENT is <5>\n\nTell me line a-b? I need the number. "
    case = {"random_idx": ["a-b", 0], "expected_number": 5, "num_lines": 1, "correct_line": "...", "prompt": prompt}
    (tmp_path / "1_lines.jsonl").write_text(json.dumps(case) + "\n")
    (sample,) = Lines(1).read_cases(tmp_path / "1_lines.jsonl")
    assert sample.context + sample.questions[0].text == prompt
    assert (sample.questions[0].answers, sample.cell["lines"]) == (("5",), 1)


@pytest.mark.parametrize(
    "text", ["", "not json\n", '{"prompt": "x"}\n', '{"prompt": "x", "expected_number": "y", "random_idx": ["a", 1]}\n']
)
def test_a_case_file_of_another_form_is_refused_by_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "cases.jsonl").write_text(text)
    with pytest.raises(UsageError, match="prompt, expected_number"):
        Lines(1).read_cases(tmp_path / "cases.jsonl")


def test_counts_are_parsed_or_refused_by_name() -> None:
    assert parse_counts("--length", "1k, 4K,300") == [1024, 4096, 300]
    with pytest.raises(UsageError, match="--lines takes whole numbers"):
        parse_counts("--lines", "20,-1")


def test_sizing_finds_the_most_lines_that_stay_within_the_tokens() -> None:
    def budget(sample: object) -> int:
        return len(LINE_PATTERN.findall(sample.context)) * 20 + 100  # type: ignore[attr-defined]

    assert of_length(Lines(1), 1024, 2, budget) == Lines(46, 2, length=1024)  # 46 * 20 + 100 = 1020
    assert of_length(Lines(1), 200, None, budget) == Lines(5, 5, length=200)
    with pytest.raises(UsageError, match="needs 140 tokens"):
        of_length(Lines(1), 120, 2, budget)


def test_a_sample_longer_than_its_probes_gets_fewer_lines_until_it_fits() -> None:
    def budget(sample: Sample) -> int:
        return len(sample.context)

    task = Lines(40, length=budget(Lines(30).sample(0, "test", 0)))
    sample = fitted(task, budget, 0, "test", 0)
    assert len(sample.context) <= task.length < len(Lines(35).sample(0, "test", 0).context)
    assert sample.identifier == task.sample(0, "test", 0).identifier
    with pytest.raises(UsageError, match="more than --length 50"):
        fitted(Lines(3, length=50), budget, 0, "test", 0)


def test_a_shorter_record_is_the_beginning_of_the_longer_one_with_questions_of_its_own() -> None:
    records = [Lines(size, 5).sample(3, "test", 1) for size in (10, 20, 900)]
    for shorter, longer in itertools.pairwise(records):
        assert longer.context.startswith(shorter.context)
        assert {q.meta["key"] for q in shorter.questions} != {q.meta["key"] for q in longer.questions}
    assert not Lines(20, 5).sample(3, "test", 2).context.startswith(records[0].context)
