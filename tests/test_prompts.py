# SPDX-License-Identifier: Apache-2.0
"""Claims about prompts: one BOS, ids as encoded in one piece, the answer mask by construction, nothing ever cut."""

from __future__ import annotations

from dataclasses import replace

import pytest

import tiny
from seal_attention.errors import UsageError
from seal_attention.prompts import Encoder, common_prefix, require_fit
from seal_attention.samples import Question


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
