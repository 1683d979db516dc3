# SPDX-License-Identifier: Apache-2.0
"""Claims about prompts: one BOS, ids as encoded in one piece, the answer mask by construction, nothing cut unasked."""

from __future__ import annotations

from dataclasses import replace

import pytest

import tiny
from seal_attention.errors import UsageError
from seal_attention.prompts import Encoder, common_prefix, joined, require_fit
from seal_attention.samples import Question, Sample


def test_prefix_and_suffix_together_are_the_prompt_encoded_in_one_piece() -> None:
    encoder, sample = Encoder(tiny.tokenizer()), tiny.sample()
    example = encoder.encode(sample)
    for question, encoded in zip(sample.questions, example.questions, strict=True):
        text = encoder.prompt_text(sample, question)
        assert [*example.prefix_ids, *encoded.suffix_ids] == tiny.tokenizer()(text, add_special_tokens=False)[
            "input_ids"
        ]


def test_every_prompt_starts_with_exactly_one_bos() -> None:
    prompt = Encoder(tiny.tokenizer()).encode(tiny.sample()).prefix_ids
    assert prompt[0] == tiny.tokenizer().bos_token_id
    assert prompt.count(tiny.tokenizer().bos_token_id) == 1


def test_the_answer_is_the_target_and_the_end_of_the_turn() -> None:
    tokenizer, sample = tiny.tokenizer(), tiny.sample()
    for question, encoded in zip(sample.questions, Encoder(tokenizer).encode(sample).questions, strict=True):
        assert tokenizer.decode(encoded.answer_ids) == question.target + "<|end|>"


def test_an_answer_prefix_belongs_to_the_prompt_not_to_the_answer() -> None:
    encoder, sample = Encoder(tiny.tokenizer()), tiny.sample()
    given = next(place for place, question in enumerate(sample.questions) if question.answer_prefix)
    encoded = encoder.encode(sample).questions[given]
    assert tiny.tokenizer().decode(encoded.suffix_ids).endswith("<|assistant|>So: ")


def test_the_shared_prefix_is_as_long_as_the_questions_agree() -> None:
    example = Encoder(tiny.tokenizer()).encode(tiny.sample())
    assert len({question.suffix_ids[0] for question in example.questions}) > 1
    assert common_prefix([[1, 2, 3], [1, 2, 4]]) == 2
    assert common_prefix([[1, 2, 3], [1, 2]]) == 1  # each keeps an id of its own
    assert common_prefix([[1, 2, 3]]) == 2


def test_a_base_model_without_a_template_gets_plain_text() -> None:
    tokenizer = type(tiny.tokenizer())(tokenizer_object=tiny.tokenizer()._tokenizer, bos_token="<s>", eos_token="</s>")
    encoder = Encoder(tokenizer)
    assert encoder.end_of_turn == tokenizer.eos_token_id
    assert encoder.prompt_text(tiny.sample(), tiny.sample().questions[0]).endswith("line amber hold?\n")


def test_an_empty_answer_is_refused() -> None:
    sample = replace(tiny.sample(), questions=(Question("Why?", ("",), ""),))
    with pytest.raises(UsageError, match="empty answer"):
        Encoder(tiny.tokenizer()).encode(sample)


def test_a_prompt_beyond_the_window_is_refused_with_the_numbers() -> None:
    example = tiny.example(max_new_tokens=6)
    require_fit(example, example.longest_prompt + 6)
    with pytest.raises(
        UsageError, match=rf"needs {example.longest_prompt + 6} tokens .* window is {example.longest_prompt + 5}"
    ):
        require_fit(example, example.longest_prompt + 5)


def long_sample() -> Sample:
    """A sample whose middle may be cut, of some 280 tokens."""
    return replace(tiny.sample(), context=tiny.sample().context * 8, cut_middle=True)


def benchmarks_cut(prompt: str, max_length: int) -> str:
    """The prompt as LongBench's pred.py cuts it, before its chat template."""
    tokenizer = tiny.tokenizer()
    tokenized = tokenizer(prompt)["input_ids"]
    if len(tokenized) > max_length:
        half = int(max_length / 2)
        parts = (tokenizer.decode(ids, skip_special_tokens=True) for ids in (tokenized[:half], tokenized[-half:]))
        return "".join(parts)
    return prompt


@pytest.mark.parametrize("templated", [True, False])
@pytest.mark.parametrize("window", [80, 81, 100, 131])
def test_a_middle_is_cut_as_in_longbench_where_the_sample_asks_for_it(window: int, templated: bool) -> None:
    sample = replace(long_sample(), questions=tiny.sample().questions[:1], templated=templated)
    user = sample.context + sample.questions[0].text
    around = len(tiny.tokenizer()(Encoder(tiny.tokenizer()).prompt_text(sample, sample.questions[0]))["input_ids"])
    around -= len(tiny.tokenizer()(user)["input_ids"])  # the template's own tokens
    room = window - sample.max_new_tokens - around
    example = Encoder(tiny.tokenizer(), window).encode(sample)
    kept = replace(sample, context=benchmarks_cut(user, room), questions=(replace(sample.questions[0], text=""),))
    assert example.prefix_ids + example.questions[0].suffix_ids == Encoder(tiny.tokenizer()).prompt_ids(
        kept, kept.questions[0]
    )
    assert window - 2 <= example.longest_prompt + sample.max_new_tokens <= window
    assert example.cut_tokens == len(tiny.tokenizer()(user)["input_ids"]) - 2 * (room // 2) > 0
    require_fit(example, window)


def test_a_cut_prompt_keeps_its_template_its_answer_prefix_and_both_ends() -> None:
    sample = long_sample()
    encoder = Encoder(tiny.tokenizer(), 80)
    texts = [tiny.tokenizer().decode(encoder.prompt_ids(sample, question)) for question in sample.questions]
    assert all(text.startswith("<s><|user|>line amber: 4") for text in texts)
    assert texts[2].endswith("of line maple, please:<|end|><|assistant|>So: ")
    assert max(len(encoder.prompt_ids(sample, question)) for question in sample.questions) <= 80 - sample.max_new_tokens
    assert encoder.budget(sample) <= 80


def test_nothing_is_cut_that_fits_or_was_not_to_be_cut() -> None:
    sample = replace(long_sample(), cut_middle=False)
    whole = Encoder(tiny.tokenizer()).encode(sample)
    assert Encoder(tiny.tokenizer(), 80).encode(sample) == whole
    fitting = replace(sample, cut_middle=True)
    exact = whole.longest_prompt + sample.max_new_tokens
    assert Encoder(tiny.tokenizer(), exact).encode(fitting) == replace(whole, sample=fitting)
    assert Encoder(tiny.tokenizer()).encode(fitting).cut_tokens == whole.cut_tokens == 0
    assert Encoder(tiny.tokenizer(), exact - 1).encode(fitting).cut_tokens > 0


def test_a_window_too_small_even_for_the_template_is_refused_as_ever() -> None:
    with pytest.raises(UsageError, match="window is 8"):
        require_fit(Encoder(tiny.tokenizer(), 8).encode(long_sample()), 8)


def test_joined_ends_that_need_more_tokens_than_apart_are_cut_again() -> None:
    sample = replace(tiny.sample(), context="é" * 60, questions=(Question("", ("x",), "x"),), cut_middle=True)
    for window in range(40, 60):  # every other cut falls inside a character and decodes to more bytes than it was
        example = Encoder(tiny.tokenizer(), window).encode(sample)
        assert example.longest_prompt + sample.max_new_tokens <= window
        assert example.cut_tokens > 0


def test_prompts_that_begin_alike_join_into_one_example_that_holds_them_all() -> None:
    encoder, sample = Encoder(tiny.tokenizer()), tiny.sample()
    shorter = replace(sample, context=sample.context[:18])
    other = replace(sample, context="Something else. " + sample.context)
    apart = [encoder.encode(part) for part in (shorter, sample, other)]
    whole = joined(apart)
    assert whole.prefix_ids == apart[2].prefix_ids
    prompts = [example.prompt_ids(question) for example in apart for question in example.questions]
    assert [whole.prompt_ids(question) for question in whole.questions] == prompts
    assert [q.answer_ids for q in whole.questions] == [q.answer_ids for one in apart for q in one.questions]
    assert joined(apart[1:2]) == apart[1]


def test_the_parts_of_an_example_hold_the_same_prompts() -> None:
    example = tiny.along()
    assert len({example.stands_after(question) for question in example.questions}) == 3
    prompts = sorted(example.prompt_ids(question) for question in example.questions)
    parts = example.parts()
    assert len(parts) == 3
    assert all(question.after is None for part in parts for question in part.questions)
    assert sorted(part.prompt_ids(question) for part in parts for question in part.questions) == prompts
