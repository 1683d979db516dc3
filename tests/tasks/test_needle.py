# SPDX-License-Identifier: Apache-2.0
"""Claims about the needle in a haystack: placed and asked as in the original, tuned on other needles and other text."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from seal_attention.errors import UsageError
from seal_attention.samples import Sample
from seal_attention.tasks import Wanted, find
from seal_attention.tasks.filler import half_of
from seal_attention.tasks.haystack import sentences
from seal_attention.tasks.needle import Needle, hide
from seal_attention.tasks.needles import (
    EVALUATED,
    EXAMPLE,
    TUNING,
    NeedlePair,
    as_lines,
    nearest,
    problems_of,
    read_needles,
)
from seal_attention.tasks.selection import Selection
from seal_attention.tasks.sizing import draw, fitted, of_length

RECIPES = Path(__file__).parents[2] / "recipes"
ORIGINAL = "The best thing to do in San Francisco is eat a sandwich and sit in Dolores Park on a sunny day."


def words_of(sample: Sample) -> int:
    return len((sample.context + sample.questions[0].text).split()) + sample.max_new_tokens


def test_the_prompt_is_the_originals_word_for_word() -> None:
    sample = Needle(60, depth=50).sample(0, "test", 0)
    (question,) = sample.questions
    assert sample.system == (
        "You are a helpful AI bot that answers questions for a user. Keep your response short and direct"
    )
    before, needle, after = sample.context.split("\n")
    assert needle == question.target == ORIGINAL
    assert len(before.split()) + len(after.split()) == 60
    assert question.text == (
        "\n\nWhat is the best thing to do in San Francisco? Don't give information outside the document or repeat your "
        "findings"
    )
    assert question.answers == ("eat a sandwich and sit in Dolores Park on a sunny day",)
    assert (question.answer_prefix, sample.templated, sample.max_new_tokens) == ("", True, 50)


def test_the_book_form_is_retrieval_heads_word_for_word() -> None:
    sample = Needle(20, book=True, depth=0, name="needle_book").sample(0, "test", 0)
    assert sample.system == ""
    assert sample.context.startswith(f"<book>\n{ORIGINAL}\n")
    assert (sample.context + sample.questions[0].text).endswith(
        "</book>\nBased on the content of the book, Question: What is the best thing to do in San Francisco?\nAnswer:"
    )


def test_the_needles_first_words_can_be_given() -> None:
    (question,) = Needle(60, prefixed=True).sample(0, "test", 0).questions
    assert question.answer_prefix == "The best thing to do in San Francisco is"
    assert question.answer_prefix + question.target == ORIGINAL


TEXT = "One two three. Four five six. Seven eight nine ten"


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (0, "\nN.\nOne two three. Four five six. Seven eight nine ten"),
        (29, "\nN.\nOne two three. Four five six. Seven eight nine ten"),
        (30, "One two three.\nN.\nFour five six. Seven eight nine ten"),
        (59, "One two three.\nN.\nFour five six. Seven eight nine ten"),
        (60, "One two three. Four five six.\nN.\nSeven eight nine ten"),
        (99, "One two three. Four five six.\nN.\nSeven eight nine ten"),
        (100, "One two three. Four five six. Seven eight nine ten\nN.\n"),
    ],
)
def test_a_needle_stands_after_the_last_sentence_end_before_its_depth(depth: int, expected: str) -> None:
    assert hide(["N."], [depth], TEXT) == expected


def test_several_needles_keep_their_own_places() -> None:
    assert hide(["B.", "A.", "C."], [60, 0, 60], TEXT) == (
        "\nA.\nOne two three. Four five six.\nB.\n\nC.\nSeven eight nine ten"
    )
    with pytest.raises(UsageError, match="from 0 to 100 percent, not 101"):
        hide(["A."], [101], TEXT)


@pytest.mark.parametrize("depth", [-1, 101])
def test_a_depth_beyond_the_text_is_refused(depth: int) -> None:
    with pytest.raises(UsageError, match=f"0 to 100, not {depth}"):
        Needle(60, depth=depth)


def test_the_needle_moves_with_the_depth() -> None:
    def words_before(depth: int) -> int:
        return len(Needle(1000, depth=depth).sample(0, "test", 0).context.split(ORIGINAL)[0].split())

    places = [words_before(depth) for depth in (0, 25, 50, 75, 100)]
    assert (places[0], places[-1]) == (0, 1000)
    assert all(10 * depth - 40 <= place <= 10 * depth for depth, place in zip((25, 50, 75), places[1:4], strict=True))


def test_without_a_depth_needles_stand_anywhere() -> None:
    depths = [Needle(100).sample(0, "train", index).questions[0].meta["depth"] for index in range(40)]
    assert min(depths) < 15
    assert max(depths) > 85


def test_samples_are_reproducible_and_every_cell_has_text_of_its_own() -> None:
    task = Needle(100, 5)
    assert draw(task, "train", 7, 5 * 4)[3] == task.sample(7, "train", 3)
    contexts = [
        Needle(100, depth=depth).sample(0, "test", index).context.replace(f"\n{ORIGINAL}\n", " ").strip()
        for depth in (0, 50, 100)
        for index in range(3)
    ]
    assert len(set(contexts)) == 9


def test_train_and_test_share_no_needle_and_no_sentence() -> None:
    held = {}
    for split in ("train", "test"):
        samples = [Needle(400, 5).sample(0, split, index) for index in range(20)]  # type: ignore[arg-type]
        needles = {question.meta["needle"] for sample in samples for question in sample.questions}
        text = {line for sample in samples for line in sentences(sample.context.replace("\n", "\n\n"))[:-1]}
        held[split] = (needles, text)
        assert {half_of(sentence) for sentence in text - needles} == {split}
    assert held["train"][0] == {pair.needle for pair in TUNING}
    assert held["test"][0] <= {pair.needle for pair in EVALUATED}
    assert not held["train"][0] & held["test"][0]
    assert len(held["train"][1]) > 300
    assert not held["train"][1] & held["test"][1]


def test_evaluation_asks_the_original_first_and_every_question_has_its_needle() -> None:
    for index in range(5):
        assert Needle(100).sample(0, "test", index).questions[0].target == ORIGINAL
        sample = Needle(100, 10).sample(0, "test", index)
        assert sample.questions[0].target == ORIGINAL
        assert len({question.text for question in sample.questions}) == 10
        assert all(f"\n{question.target}\n" in sample.context for question in sample.questions)


def test_more_questions_than_needles_are_refused() -> None:
    with pytest.raises(UsageError, match="--questions 11 needs as many needles, but needle has 10"):
        Needle(100, 11)
    with pytest.raises(UsageError, match="has 10"):
        of_length(Needle(100), 1024, 11, words_of)


def test_sizing_fits_prompt_and_answer_into_the_tokens() -> None:
    task = of_length(find("needle", Wanted(tuning=True)), 400, None, words_of, tuning=True)
    assert (task.questions, task.length, task.cell) == (5, 400, {"length": 400})
    assert 370 < words_of(fitted(task, words_of, 0, "train", 0)) <= 400
    with pytest.raises(UsageError, match="--length 60 can't hold needle"):
        of_length(find("needle", Wanted()), 60, None, words_of)


def test_a_correct_answer_scores_one_by_both_rules_and_a_wrong_one_as_published() -> None:
    task = Needle(60)
    (question,) = task.sample(0, "test", 0).questions
    assert task.scores(question.target, question) == {"rouge1_recall": 1.0, "answer_phrase": 1.0}
    wrong = "Go to the top of the hill at Lands End and look out at the city."
    scores = task.scores(wrong, question)  # the SEAL paper's example of a wrong answer: 8.3 %
    assert list(scores) == ["rouge1_recall", "answer_phrase"]
    assert round(100 * scores["rouge1_recall"], 1) == 8.3
    assert scores["answer_phrase"] == 0.0


def test_the_published_needles_and_the_recipes_keep_the_rules_and_differ() -> None:
    more = read_needles(RECIPES / "needles.jsonl")
    assert (len(TUNING), len(more), more[:10]) == (10, 50, EVALUATED)
    for pair in (EXAMPLE, *TUNING, *more):
        assert problems_of(pair.needle, pair.question) == []
        assert f"{pair.opening} {pair.answer}." == pair.needle
    held = [pair.needle for pair in (EXAMPLE, *TUNING, *more)]
    assert not [pair for pair in combinations(held, 2) if nearest(pair[0], pair[1:])]
    assert TUNING[0].needle == (
        "Immediately noticeable upon entering the room is the large oak table positioned beneath the chandelier."
    )


@pytest.mark.parametrize(
    ("needle", "question", "problem"),
    [
        ("The lamp by the door is blue.", "What is the lamp by the door?", "has 7 words, fewer than 15"),
        (TUNING[0].needle[:-1], TUNING[0].question, "not one sentence"),
        (TUNING[0].needle, TUNING[0].question[:-1], "no question mark"),
        (TUNING[0].needle, "What stands beneath the large chandelier?", "does not begin with what is asked"),
        (TUNING[0].needle, "What is it?", "does not begin with what is asked"),
        (
            "The first thing you notice in the room is the first thing you notice in the big room.",
            "What is the first thing you notice in the big room?",
            "hardly more than its question",
        ),
    ],
)
def test_a_pair_that_breaks_a_rule_is_told_which(needle: str, question: str, problem: str) -> None:
    assert any(problem in found for found in problems_of(needle, question))


def test_needles_in_nearly_the_same_words_are_found() -> None:
    varied = TUNING[0].needle.replace("large", "big").replace("positioned", "standing")
    assert nearest(varied, [TUNING[1].needle, TUNING[0].needle]) == TUNING[0].needle
    assert nearest(TUNING[2].needle, [pair.needle for pair in (*TUNING[:2], *TUNING[3:])]) is None


def test_needle_files_are_read_as_they_are_written(tmp_path: Path) -> None:
    own = (NeedlePair("The gate is green\u2028and old.", "What is the gate?", "green\u2028and old"), TUNING[0])
    (tmp_path / "own.jsonl").write_text(as_lines(own), encoding="utf-8")
    assert read_needles(tmp_path / "own.jsonl") == own
    (tmp_path / "bare.jsonl").write_text('{"needle": "The gate is green.", "question": "What is the gate?"}\n\n')
    assert read_needles(tmp_path / "bare.jsonl")[0].answer == "The gate is green"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no needles"),
        ("needle\n", "line 1 is not JSON"),
        ("[]\n", "line 1 is a JSON list"),
        ('{"needle": "A."}\n', "line 1 has question None"),
        ('{"needle": " ", "question": "B?"}\n', "line 1 has needle ' '"),
        ('{"needle": "A.", "question": "B?", "answer": "C"}\n', "answer 'C', which is no part"),
        ('{"needle": "A.", "question": "B?"}\n' * 2, "line 2 asks the question of line 1 again"),
    ],
)
def test_a_needle_file_of_another_form_is_refused_by_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "needles.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=complaint):
        find("needle", Wanted(data=path))
    with pytest.raises(UsageError, match=r"missing\.jsonl can't be read"):
        read_needles(tmp_path / "missing.jsonl")


def test_needles_of_ones_own_are_hidden_and_asked(tmp_path: Path) -> None:
    path = tmp_path / "needles.jsonl"
    long = "The oldest rule of the harbour at Ness is that " + "no boat may leave before the tide has turned and " * 6
    own = [{"needle": f"{long}no bell rings.", "question": "What is the oldest rule of the harbour at Ness?"}]
    path.write_text("".join(json.dumps(pair) + "\n" for pair in own))
    task = find("needle", Wanted(data=path))
    sample = replace(task, units=30).sample(0, "test", 0)
    assert own[0]["needle"] in sample.context
    assert sample.max_new_tokens == 2 * len(own[0]["needle"].split()) > 50
    with pytest.raises(UsageError, match="but needle has 1; ask at most 1, or give more with --data"):
        replace(task, questions=2)


def test_what_evaluation_asks_is_never_tuned_on(tmp_path: Path) -> None:
    path = tmp_path / "needles.jsonl"
    path.write_text(as_lines([replace(EVALUATED[0], question="What to do in San Francisco?")]))
    with pytest.raises(UsageError, match="a needle that `seal eval` asks"):
        find("needle", Wanted(tuning=True, data=path))
    assert find("needle", Wanted(data=path)).sample(0, "test", 0).questions[0].target == ORIGINAL


def test_an_answer_that_rouge_can_not_see_is_refused_for_evaluation_alone(tmp_path: Path) -> None:
    path = tmp_path / "needles.jsonl"
    path.write_text(json.dumps({"needle": "Лучшее дело — сидеть в парке.", "question": "Что лучше?"}))
    with pytest.raises(UsageError, match="Latin letters and digits alone"):
        find("needle", Wanted(data=path))
    assert find("needle", Wanted(data=path, tuning=True)).sample(0, "train", 0).questions


def test_the_haystack_folder_is_used_and_a_bad_one_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "essay.txt").write_text("It rained all day. We stayed at home. Then it cleared. We went out at last.")
    sample = replace(find("needle", Wanted(haystack=tmp_path)), units=8, depth=100).sample(0, "test", 0)
    assert set(sentences(sample.context.replace(ORIGINAL, ""))) == {"It rained all day.", "We stayed at home."}
    with pytest.raises(UsageError, match="--haystack"):
        find("needle", Wanted(haystack=tmp_path / "none"))


def test_more_questions_than_any_size_allows_are_refused_without_a_tokenizer() -> None:
    assert Selection("needle", lengths="1k", questions=10).cells(None) == []
    with pytest.raises(UsageError, match="--questions 11 needs as many needles, but needle has 10; ask at most 10"):
        Selection("needle", lengths="1k", questions=11).cells(None)
