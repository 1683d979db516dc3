# SPDX-License-Identifier: Apache-2.0
"""Claims about the eleven RULER tasks that are made: their words, their answers, their sizes, train and test apart."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from seal_attention.errors import UsageError
from seal_attention.loading import load_tokenizer
from seal_attention.prompts import Encoder
from seal_attention.samples import Sample
from seal_attention.tasks import GROUPS, Wanted, find
from seal_attention.tasks.ruler.frequent_words import repetitions
from seal_attention.tasks.ruler.niah import DEPTHS, NEEDLE, between
from seal_attention.tasks.ruler.vocabulary import words
from seal_attention.tasks.sizing import fitted, of_length, of_units
from seal_attention.tasks.task import Task

MADE = GROUPS["ruler-offline"]
NEEDLES = re.compile(r"One of the special magic \w+s for (.*?) is: (\S+)\.")
CHAINS = re.compile(r"^VAR (\w+) = (?:VAR )?(\w+)", re.MULTILINE)


def task_of(name: str, units: int | None = None, questions: int = 1, length: int | None = None) -> Task:
    task = find(name, Wanted())
    return replace(task, units=units or task.units, questions=questions, length=length)


def counted(sample: Sample) -> int:
    """About what a tokenizer counts: a token for each word and each mark, for two characters of a number."""
    turns = "\n".join(text for exchange in sample.earlier for text in exchange)
    longest = max(len(question.text + question.answer_prefix) for question in sample.questions)
    return len(re.findall(r"\d\d?|[^\W\d]+|[^\w\s]", turns + sample.context)) + longest // 4 + sample.max_new_tokens


def test_the_group_holds_rulers_thirteen_and_eleven_of_them_need_no_data() -> None:
    assert len(GROUPS["ruler"]) == 13
    assert set(GROUPS["ruler"]) - set(MADE) == {"qa_1", "qa_2"}


def test_a_single_needle_is_asked_for_in_rulers_words() -> None:
    sample = task_of("niah_single_1", 2).sample(0, "test", 0)
    ((key, value),) = NEEDLES.findall(sample.context)
    noise = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
    lines = [noise, noise]
    lines.insert(sample.context.split("\n")[1:].index(f"One of the special magic numbers for {key} is: {value}."),
                 f"One of the special magic numbers for {key} is: {value}.")  # fmt: skip
    assert sample.context == (
        "A special magic number is hidden within the following text. Make sure to memorize it. I will quiz you about "
        "the number afterwards.\n" + "\n".join(lines)
    )
    (question,) = sample.questions
    assert question.text == f"\nWhat is the special magic number for {key} mentioned in the provided text?"
    assert question.answer_prefix == f" The special magic number for {key} mentioned in the provided text is"
    assert (question.answers, question.target) == ((value,), f" {value}.")


def test_several_keys_are_asked_for_at_once() -> None:
    sample = task_of("niah_multiquery").sample(3, "test", 1)
    values = dict(NEEDLES.findall(sample.context))
    (question,) = sample.questions
    asked = re.search(r"numbers for (.*), (.*), (.*), and (.*) mentioned", question.text)
    assert asked is not None
    assert sample.context.startswith("Some special magic numbers are hidden within")
    assert question.answer_prefix.endswith(" mentioned in the provided text are")
    assert tuple(values[key] for key in asked.groups()) == question.answers
    assert question.target == f" {', '.join(question.answers)}."


def test_all_values_of_a_key_are_the_answer_in_reading_order() -> None:
    sample = task_of("niah_multivalue").sample(3, "test", 1)
    held = NEEDLES.findall(sample.context)
    assert len({key for key, _ in held}) == 1
    assert sample.questions[0].answers == tuple(value for _, value in held)
    assert len(held) == 4


@pytest.mark.parametrize(("name", "held"), [("niah_multikey_2", 31), ("niah_multikey_3", 31), ("niah_multikey_1", 4)])
def test_more_questions_change_no_haystack_of_needles(name: str, held: int) -> None:
    one, many = (task_of(name, 30, questions).sample(1, "test", 0) for questions in (1, 4))
    values = dict(NEEDLES.findall(many.context))
    assert len(NEEDLES.findall(one.context)) == len(values) == held
    assert len({question.meta["key"] for question in many.questions}) == 4
    assert all((values[question.meta["key"]],) == question.answers for question in many.questions)


def test_elsewhere_each_question_has_a_needle_of_its_own() -> None:
    sample = task_of("niah_single_3", questions=5).sample(1, "train", 0)
    values = dict(NEEDLES.findall(sample.context))
    assert len(values) == 5
    assert {q.meta["key"]: q.answers[0] for q in sample.questions} == values


def test_test_essays_begin_alike_and_tuning_essays_do_not() -> None:
    def opening(split: str, index: int) -> str:
        context = task_of("niah_single_2", 400).sample(0, split, index).context  # type: ignore[arg-type]
        return NEEDLES.sub("", context).split("\n", 1)[1][:200]

    assert opening("test", 0).split()[:20] == opening("test", 1).split()[:20]
    assert opening("train", 0).split()[:20] != opening("train", 1).split()[:20]


def test_a_haystack_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Whales sing. " * 50 + "Bees dance. " * 50)
    task = replace(find("niah_single_2", Wanted(haystack=tmp_path)), units=60)
    context = task.sample(0, "test", 0).context
    assert context.count("Whales sing.") == 30
    assert "Bees" not in context


def test_needles_stand_at_their_share_of_the_sentences() -> None:
    assert between(["a.", "b.", "c.", "d."], [0, 51, 100], ["X", "Y", "Z"]) == " X a. b. Y c. d. Z "
    assert (len(DEPTHS), DEPTHS[:3], DEPTHS[-1]) == (40, [0, 3, 5], 100)


def test_no_two_pairs_of_words_are_spelt_alike() -> None:
    adjectives, nouns = words("adjective"), words("noun")
    assert (len(adjectives), len(nouns)) == (910, 6782)
    alike = [(a, b) for a in adjectives for b in adjectives if b.startswith(f"{a}-")]
    held = set(nouns)
    assert not [n for a, b in alike for n in nouns if f"{b.removeprefix(a + '-')}-{n}" in held]


def test_variables_of_a_chain_are_the_answer_and_the_example_is_solved() -> None:
    sample = task_of("vt", 20, 3).sample(0, "test", 0)
    example, text = sample.context.split("\n\nMemorize")
    given = CHAINS.findall(text)
    assert len(given) == 15
    for question in sample.questions:
        names = [name for name, source in given if source == question.meta["key"]]
        while len(names) < 5:
            names += [name for name, source in given if source == names[-1]]
        assert tuple(names) == question.answers
        assert question.answer_prefix == (
            " Answer: According to the chain(s) of variable assignment in the text above, 5 variables are assigned the "
            f"value {question.meta['key']}, they are: "
        )
        assert question.target == " " + " ".join(names)
        assert question.text == (
            f"\nQuestion: Find all variables that are assigned the value {question.meta['key']} in the text above."
        )
    shown = CHAINS.findall(example)
    assert example.endswith("they are:  " + " ".join(name for name, _ in shown))
    assert [len(name) for name, _ in shown] == [3] * 5


@pytest.mark.parametrize(("length", "often", "seldom", "shown"), [(2048, 6, 1, (3, 1)), (4096, 30, 3, (10, 3))])
def test_common_words_repeat_as_in_ruler(length: int, often: int, seldom: int, shown: tuple[int, int]) -> None:
    sample = task_of("cwe", 35, length=length).sample(0, "test", 0)
    ((asked, answered),) = sample.earlier

    def counts(text: str) -> Counter[str]:
        listed = text.split("\n")[1]
        numbers = [int(number) for number in re.findall(r"(?:^| )(\d+)\. ", listed)]
        assert numbers == list(range(1, len(numbers) + 1))
        return Counter(re.split(r" ?\d+\. ", listed)[1:])

    (question,) = sample.questions
    held, example = counts(sample.context), counts(asked)
    assert {word for word, times in held.items() if times == often} == set(question.answers)
    assert Counter(held.values()) == {often: 10, seldom: 25}
    assert Counter(example.values()) == {shown[0]: 10, shown[1]: 10 if length < 4096 else 30}
    most = " ".join(f"{i}. {word}" for i, word in enumerate(re.split(r" ?\d+\. ", answered)[1:], 1))
    assert answered == f" Answer: The top 10 words that appear most often in the list are: {most}"
    assert all(example[word] == shown[0] for word in re.split(r" ?\d+\. ", answered)[1:])
    assert question.target == " " + " ".join(f"{i}. {word}" for i, word in enumerate(question.answers, 1))
    first = [sample.context.index(f". {word}") for word in question.answers]
    assert first == sorted(first)


def test_there_are_common_words_for_any_length() -> None:
    sample = task_of("cwe", 9000, length=2048).sample(0, "test", 0)
    assert len(set(re.split(r" ?\d+\. ", sample.context.split("\n")[1])[1:])) == 9000


def test_the_coded_words_asked_for_are_the_most_frequent() -> None:
    for units in (53, 54, 200, 5000):
        sample = task_of("fwe", units, length=2048).sample(0, "test", units)
        counts = Counter(sample.context.split("coded words. ", 1)[1].split())
        assert counts.most_common(1)[0][0] == "..."
        del counts["..."]
        assert tuple(word for word, _ in counts.most_common(3)) == sample.questions[0].answers
        ranked = [times for _, times in counts.most_common(4)]
        assert len(ranked) < 4 or ranked[2] > ranked[3]


def test_counts_of_coded_words_fall_with_the_square_of_the_rank() -> None:
    assert repetitions(6, 1000) == [607, 151, 67, 37, 24, 16]


@pytest.mark.parametrize("name", MADE)
def test_samples_depend_on_their_seed_alone_and_splits_share_no_needle(name: str) -> None:
    task = task_of(name, 60, task_of(name).usual_questions[0])
    assert task.sample(5, "train", 3) == task.sample(5, "train", 3)
    assert task.sample(5, "train", 3) != task.sample(6, "train", 3)

    def facts(split: str) -> set[str]:
        samples = [task.sample(0, split, index) for index in range(20)]  # type: ignore[arg-type]
        needles = {line for s in samples for line in re.findall(r"One of the special .*?: \S+|VAR .*", s.context)}
        return needles | {answer for s in samples for question in s.questions for answer in question.answers}

    assert facts("train")
    assert not facts("train") & facts("test")


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("niah_single_1", "9f8c580fbc41205f"),
        ("niah_multikey_3", "2f6bcc427caf42db"),
        ("vt", "8123832be6e6235d"),
        ("fwe", "347bde075f566a70"),
    ],
)
def test_a_seed_gives_the_same_text_on_every_machine(name: str, digest: str) -> None:
    sample = task_of(name, 60).sample(7, "test", 5)
    (question,) = sample.questions
    text = sample.context + question.text + question.answer_prefix + question.target
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("length", [512, 1024, 4096])
@pytest.mark.parametrize("tuning", [False, True])
def test_every_length_is_filled_or_refused_with_the_smallest(name: str, length: int, tuning: bool) -> None:
    task = find(name, Wanted())
    asked = 1 if name in ("niah_multikey_2", "niah_multikey_3") else None
    try:
        sized = of_length(task, length, asked, counted, tuning)
    except UsageError as error:
        assert length < 1024
        assert name in ("vt", "cwe")
        (needed,) = re.findall(r"needs ([\d,]+) tokens", str(error))
        assert of_length(task, int(needed.replace(",", "")), asked, counted, tuning).units >= task.fewest
        return
    assert sized.length == length
    samples = [fitted(sized, counted, 0, "test", index) for index in range(4)]
    assert all(counted(sample) <= length for sample in samples)
    assert max(counted(sample) for sample in samples) > 0.8 * length or sized.units == task.fewest
    assert samples[0].cell == {"length": length}


@pytest.mark.parametrize("name", MADE)
def test_bigger_sizes_make_longer_contexts(name: str) -> None:
    sizes = [counted(of_units(task_of(name), units, 1).sample(0, "test", 0)) for units in (60, 120, 240, 480, 960)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(
    ("name", "questions", "most"),
    [("cwe", 2, "1 question"), ("fwe", 3, "1 question"), ("niah_multivalue", 11, "10"), ("niah_single_2", 41, "40")],
)
def test_more_questions_than_a_context_can_hold_are_refused(name: str, questions: int, most: str) -> None:
    with pytest.raises(UsageError, match=f"{most}.* of a context, not {questions}"):
        of_length(find(name, Wanted()), 4096, questions, counted)


def test_as_many_needles_as_lines_is_the_most() -> None:
    assert len(task_of("niah_single_1", 7, 7).sample(0, "test", 0).questions) == 7
    with pytest.raises(UsageError, match="from 1 to 7"):
        task_of("niah_single_1", 7, 8)


def test_an_answer_gets_both_scores() -> None:
    question = task_of("niah_multivalue").sample(0, "test", 0).questions[0]
    half = " ".join(question.answers[:2]) + "0"
    assert find("niah_multivalue", Wanted()).scores(half, question) == {"ruler": 0.5, "whole_words": 0.25}


def test_the_needle_line_keeps_the_plural_as_ruler_does() -> None:
    assert NEEDLE.format(kind="uuid", key="k", value="v") == "One of the special magic uuids for k is: v."


@pytest.mark.embedded
def test_a_task_is_shown_as_the_embedded_model_reads_it() -> None:
    from seal_attention.cli.app import app

    result = CliRunner().invoke(app, ["show", "--task", "niah_single_1", "--length", "1k", "--json"])
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert 1024 - 40 < shown["prompt_tokens"] + 128 <= 1024
    (question,) = shown["questions"]
    assert re.search(
        r"assistant\n The special magic number for .* mentioned in the provided text is$", question["prompt"]
    )
    assert re.fullmatch(r" \d{7}\.<\|im_end\|>", question["answer"])


@pytest.mark.embedded
def test_the_embedded_models_tokenizer_fills_1k_with_every_task() -> None:
    encoder = Encoder(load_tokenizer("smollm2-135m"))
    for name in MADE:
        sized = of_length(find(name, Wanted()), 1024, 1, encoder.budget)
        used = [encoder.budget(fitted(sized, encoder.budget, 0, "train", index)) for index in range(3)]
        assert all(800 < tokens <= 1024 for tokens in used), (name, used)
