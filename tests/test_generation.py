# SPDX-License-Identifier: Apache-2.0
"""Answers over a shared prefix, drafted or not, are those of plain greedy decoding, one full prompt at a time."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence

import pytest
import torch
from torch.utils import deterministic

import tiny
from seal_attention import decoding, generation, prefix_rows, shared_prefix
from seal_attention.generation import Answer, answer_examples, answer_questions, stop_ids
from seal_attention.models import LoadedModel
from seal_attention.packing import answer_logits_and_tails
from seal_attention.prefix_rows import PrefixRows
from seal_attention.prompts import EncodedQuestion, Encoder, Example
from seal_attention.row_lines import Row
from seal_attention.shared_prefix import PrefixCache, rows_that_fit

END = tiny.COMMON["eos_token_id"]
LIMIT = 6
Answers = tuple[tuple[int, ...], ...]
FACT, FILLER = "Line birch: 5. ", "Line maple: 3. "
FILLED = [FILLER * place + FACT + FILLER * (6 - place) for place in (2, 4, 6)]  # a fact at three depths


@functools.cache
def greedy(family: str, stops: tuple[int, ...] = (END,), limit: int = LIMIT) -> Answers:
    """What transformers' own generate writes after each full prompt of the example, one at a time."""
    example, model = tiny.example(), tiny.shared(family).model
    answers = []
    for question in example.questions:
        ids = torch.tensor([[*example.prefix_ids, *question.suffix_ids]])
        written = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=limit, eos_token_id=list(stops)
        )
        answers.append(tuple(written[0, ids.shape[1] :].tolist()))
    return tuple(answers)


def with_references(example: Example, references: Sequence[Sequence[int]]) -> Example:
    """The example with other answers to draft from."""
    pairs = zip(example.questions, references, strict=True)
    questions = tuple(dataclasses.replace(question, answer_ids=tuple(ids)) for question, ids in pairs)
    return dataclasses.replace(example, questions=questions)


def wrong(token: int) -> int:
    """Any other token, not a special one."""
    return token + 1 if token < tiny.VOCABULARY - 1 else 10


def written(model: LoadedModel, example: Example, stops: Sequence[int] = (END,), draft: bool = True) -> Answers:
    """The ids of each answer."""
    return tuple(answer.ids for answer in answer_questions(model, example, stops, draft=draft))


@pytest.fixture
def _dirty_memory() -> Iterator[None]:
    """Memory that nobody wrote holds NaN, so that reading it shows."""
    assert deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("_dirty_memory")
@pytest.mark.parametrize("draft", [True, False], ids=["drafted", "plain"])
def test_answers_equal_generate_whatever_the_references(family: str, draft: bool, example: Example) -> None:
    answers, model = greedy(family), tiny.shared(family)
    longer = greedy(family, limit=LIMIT + 2)
    references = {
        "right": answers,
        "right and longer than the limit": longer,
        "right but too short": [ids[:2] for ids in answers],
        "partly right": [(*ids[:2], wrong(ids[2]), *ids[3:]) for ids in answers],
        "wrong from the start": [(wrong(ids[0]), *ids[1:]) for ids in answers],
        "of different rightness": [answers[0], (*answers[1][:3], wrong(answers[1][3])), (wrong(answers[2][0]),)],
    }
    for kind, reference in references.items() if draft else [("any", answers)]:
        assert written(model, with_references(example, reference), draft=draft) == answers, kind


@pytest.mark.parametrize("draft", [True, False], ids=["drafted", "plain"])
def test_answers_equal_generate_where_stop_tokens_end_some_early(family: str, draft: bool, example: Example) -> None:
    answers = greedy(family)
    stops = (END, answers[0][1], answers[2][3])
    stopped = greedy(family, stops)
    assert any(len(ids) < LIMIT for ids in stopped)
    for references in (stopped, answers, [(wrong(ids[0]),) for ids in answers]):
        assert written(tiny.shared(family), with_references(example, references), stops, draft) == stopped


def test_what_a_wrong_draft_has_read_is_not_read_again(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    model, answers = tiny.shared("llama"), greedy("llama")
    drafts = with_references(example, [(*ids[:2], wrong(ids[2])) for ids in answers])
    read: list[int] = []
    run = model.run
    monkeypatch.setattr(model, "run", lambda ids, *given, **more: read.append(ids.numel()) or run(ids, *given, **more))
    assert written(model, drafts) == answers
    asked = sum(len(question.suffix_ids) + len(question.answer_ids) - 1 for question in drafts.questions)
    steps = LIMIT - 3  # two tokens agreed, the third came from the same logits
    assert read[:3] == [len(example.prefix_ids), asked, 1]  # the one is a trial whether rows can be read apart
    assert len(read) == 3 + steps
    assert max(read[3:]) <= len(drafts.questions)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_the_number_of_rows_at_a_time_changes_no_token(
    name: str, rows: int, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "rows_that_fit", lambda *_: rows)
    assert written(tiny.shared(name), example) == greedy(name)


@pytest.mark.usefixtures("_dirty_memory")
@pytest.mark.parametrize("way", ["apart", "in lines"])
def test_contexts_answered_together_are_answered_as_each_alone(
    family: str, way: str, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefix_rows, "SLOTS", 2)
    if way == "in lines":
        monkeypatch.setattr(PrefixRows, "fit", lambda *_: False)
    model = tiny.shared(family)
    encoder = Encoder(model.tokenizer)
    longer = dataclasses.replace(tiny.sample(), context="Line birch: 5. " + tiny.sample().context)
    examples = [example, encoder.encode(longer), tiny.along(LIMIT + 3)]
    answers = greedy(family)
    wrong_drafts = with_references(example, [(wrong(ids[0]), *ids[1:]) for ids in answers])
    together = list(answer_examples(model, [*examples, wrong_drafts], {END}))
    assert [got for got, _ in together] == [*examples, wrong_drafts]
    for own, found in together:
        assert found == answer_questions(model, own, {END}, draft=False)
    assert tuple(answer.ids for answer in together[-1][1]) == answers


def begun_apart(model: LoadedModel, example: Example) -> bool:
    """Whether the model's rows are decoded each with its own keys apart."""
    prefix = PrefixCache.prefill(model, example.prefix_ids)
    _, tails = answer_logits_and_tails(model, example.questions, prefix)
    rows = [Row(prefix, (q.answer_ids[-1],), LIMIT, tail) for q, tail in zip(example.questions, tails, strict=True)]
    return PrefixRows.fit(model, rows)


@torch.no_grad()
def test_families_of_ordinary_attention_are_decoded_apart(family: str, example: Example) -> None:
    model = tiny.shared(family)
    ordinary = model.reads_blockwise and model.takes_any_mask and not shared_prefix.forgets(model)
    # DeepSeek keeps latents, and attention sees what it makes of them; StableLM hands no keywords on.
    assert begun_apart(model, example) == (ordinary and family not in ("deepseek_v3", "stablelm"))


def test_a_model_that_hands_no_keywords_to_attention_is_decoded_in_lines(
    example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.shared("llama")
    run = model.run
    monkeypatch.setattr(model, "run", lambda *given, prefix_rows=None, **more: run(*given, **more))
    assert not begun_apart(model, example)
    assert written(model, with_references(example, [(wrong(ids[0]),) for ids in greedy("llama")])) == greedy("llama")


@pytest.mark.parametrize("name", ["llama", "mistral", "bloom"])
def test_of_contexts_that_begin_alike_only_what_differs_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.shared(name)
    encoder = Encoder(model.tokenizer)
    examples = [encoder.encode(dataclasses.replace(tiny.sample(), context=context)) for context in FILLED]
    alone = [answer_questions(model, own, {END}) for own in examples]
    read: list[int] = []
    run = model.run
    monkeypatch.setattr(model, "run", lambda ids, *given, **more: read.append(ids.numel()) or run(ids, *given, **more))
    for own in examples:
        answer_questions(model, own, {END})
    apart = sum(read)
    read.clear()
    assert [answers for _, answers in answer_examples(model, examples, {END}, draft=True)] == alone
    alike = [generation.shared_with(b.prefix_ids, a.prefix_ids) for a, b in itertools.pairwise(examples)]
    assert min(alike) > 0
    if name != "mistral":  # its windows forget
        assert sum(read) <= apart - sum(alike)


@pytest.mark.parametrize("held", [0, 1, 2])
def test_the_size_of_a_wave_changes_no_token(held: int, example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    model, examples = tiny.shared("llama"), [example] * 3
    whole = [answers for _, answers in answer_examples(model, examples, {END})]
    monkeypatch.setattr(generation, "WAVE", 3 * held)
    read: list[Example] = []
    waves = [(len(read), answers) for _, answers in answer_examples(model, examples, {END}, on_read=read.append)]
    assert [answers for _, answers in waves] == whole
    assert [number for number, _ in waves] == ([2, 2, 3] if held == 2 else [1, 2, 3])


def test_long_contexts_are_answered_before_much_more_is_read(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    model, examples, read = tiny.shared("llama"), [example] * 3, list[Example]()
    whole = [answers for _, answers in answer_examples(model, examples, {END})]
    for limit, waves in ((len(example.prefix_ids), [1, 2, 3]), (len(example.prefix_ids) + 1, [2, 2, 3])):
        monkeypatch.setattr(generation, "READ", limit)
        read.clear()
        found = [(len(read), answers) for _, answers in answer_examples(model, examples, {END}, on_read=read.append)]
        assert [answers for _, answers in found] == whole
        assert [number for number, _ in found] == waves


@pytest.mark.parametrize("name", ["llama", "mistral", "bloom"])
def test_little_memory_changes_no_token(name: str, example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (generation, decoding):
        monkeypatch.setattr(module, "free_memory", lambda _: 1)
    answers = [tuple(a.ids for a in found) for _, found in answer_examples(tiny.shared(name), [example] * 2, {END})]
    assert answers == [greedy(name)] * 2


@pytest.mark.parametrize("draft", [True, False], ids=["drafted", "plain"])
@pytest.mark.parametrize("name", ["llama", "mistral", "bloom"])
def test_an_empty_prefix_changes_no_token(name: str, draft: bool, example: Example) -> None:
    questions = tuple(EncodedQuestion((*example.prefix_ids, *q.suffix_ids), q.answer_ids) for q in example.questions)
    assert written(tiny.shared(name), Example(example.sample, (), questions), draft=draft) == greedy(name)


def test_an_answer_says_whether_the_model_ended_it(example: Example) -> None:
    answers = greedy("llama")
    model = tiny.shared("llama")
    assert answer_questions(model, example, {END})[0] == Answer(answers[0], stopped=False)
    assert answer_questions(model, example, {answers[0][2]})[0] == Answer(answers[0][:3], stopped=True)


def test_a_stop_token_as_the_last_allowed_one_counts_as_stopped(example: Example) -> None:
    answers = greedy("llama")
    assert answers[0].index(answers[0][-1]) == LIMIT - 1
    assert answer_questions(tiny.shared("llama"), example, {answers[0][-1]})[0] == Answer(answers[0], stopped=True)


def test_answering_leaves_the_prefix_as_it_is(example: Example) -> None:
    model = tiny.shared("mistral")
    prefix = PrefixCache.prefill(model, example.prefix_ids)
    before = [tensor.clone() for tensor in prefix.tensors()]
    ids = torch.tensor([question.suffix_ids[:5] for question in example.questions])
    model.run(ids, prefix.rows(3))
    assert prefix.length == len(example.prefix_ids)
    assert all(torch.equal(now, then) for now, then in zip(prefix.tensors(), before, strict=True))


def test_a_prefix_read_in_pieces_is_the_same_prefix(family: str, example: Example) -> None:
    model = tiny.shared(family)
    with torch.no_grad(), tiny.Float64():
        whole = PrefixCache.prefill(model, example.prefix_ids)
        pieces = PrefixCache.prefill(model, example.prefix_ids, chunk=5)
    assert pieces.length == whole.length
    for piece, tensor in zip(pieces.tensors(), whole.tensors(), strict=True):
        assert torch.allclose(piece, tensor, rtol=0, atol=1e-9)


def test_a_spread_prefix_is_read_in_pieces_at_its_positions(example: Example) -> None:
    model = tiny.shared("llama")
    positions = [3 * index for index in range(len(example.prefix_ids))]
    with torch.no_grad(), tiny.Float64():
        whole = PrefixCache.prefill(model, example.prefix_ids, positions)
        pieces = PrefixCache.prefill(model, example.prefix_ids, positions, chunk=5)
        plain = PrefixCache.prefill(model, example.prefix_ids)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-9) for a, b in zip(pieces.tensors(), whole.tensors(), strict=True))
    assert not torch.allclose(plain.tensors()[0], whole.tensors()[0])


def test_stop_ids_join_the_end_of_turn_and_every_configured_end(model: LoadedModel) -> None:
    assert stop_ids(model, 5) == {END, 5}
    model.model.generation_config.eos_token_id = [1, 3]
    assert stop_ids(model, None) == {1, 3}
    model.model.generation_config.eos_token_id = None
    assert stop_ids(model, 5) == {5}


def test_more_rows_fit_into_more_memory_and_one_always_does(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.shared("llama")
    prefix = PrefixCache.prefill(model, example.prefix_ids)
    fitting = []
    for free in (0, 10**7, 10**8):
        monkeypatch.setattr(shared_prefix, "free_memory", lambda _, free=free: free)
        fitting.append(rows_that_fit(model, prefix, LIMIT))
    assert fitting[0] == 1
    assert 1 < fitting[1] < fitting[2]
