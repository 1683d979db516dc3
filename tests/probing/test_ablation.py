# SPDX-License-Identifier: Apache-2.0
"""Heads and channels silenced many at a time equal whole runs of the model, each with that scale at 0."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import NoReturn

import pytest
import torch
from torch import nn

import tiny
from adapting import randomised
from seal_attention.adapters import Adapter, LowRank, Scales
from seal_attention.errors import UsageError
from seal_attention.extension import extended
from seal_attention.generation import answer_questions
from seal_attention.models import LoadedModel
from seal_attention.packing import answer_logits
from seal_attention.probing import ablation
from seal_attention.probing.ablation import Ablated, Part, ablate, all_channels, all_heads
from seal_attention.probing.layer_walk import recorded
from seal_attention.prompts import EncodedQuestion, Example
from seal_attention.shared_prefix import PrefixCache

SHARES_KEYS = "gemma4_text"  # its last layers attend to the keys of earlier ones: no run can start in the middle


@pytest.fixture
def _no_rounding() -> Iterator[None]:
    with tiny.Float64():
        yield


def silencing(model: LoadedModel, layer: int, head: int, channel: int | None = None) -> Scales:
    """The adapter whose one scale is 0."""
    scales = Scales("seal-h" if channel is None else "seal-c", model.projections)
    projection = next(projection for projection in model.projections if projection.layer == layer)
    place = head if channel is None else head * projection.head_size + channel
    scales.values[projection.name].data[place] = 0.0
    return scales


def whole_run(model: LoadedModel, example: Example, *adapters: Adapter) -> Ablated:
    """The questions one by one over the whole model with the adapters attached, judged token by token."""
    log_probabilities, agreed = [], []
    with contextlib.ExitStack() as stack, torch.no_grad():
        for adapter in adapters:
            stack.enter_context(adapter.attached(model))
        for question in example.questions:
            prefix = PrefixCache.prefill(model, example.prefix_ids[: question.after])
            logits = answer_logits(model, [dataclasses.replace(question, after=None)], prefix)[0]
            rows = list(zip(logits.log_softmax(-1), question.answer_ids, strict=True))
            log_probabilities.append(sum(float(row[token]) for row, token in rows))
            wrong = [place for place, (row, token) in enumerate(rows) if int(row.argmax()) != token]
            agreed.append(wrong[0] if wrong else len(rows))
    lengths = [len(question.answer_ids) for question in example.questions]
    right = [count == length for count, length in zip(agreed, lengths, strict=True)]
    return Ablated(None, tuple(log_probabilities), tuple(agreed), tuple(right))


def assert_same(found: Ablated, expected: Ablated, tolerance: float = 1e-9) -> None:
    """The same numbers, whatever head they are of."""
    assert found.log_probabilities == pytest.approx(expected.log_probabilities, rel=0, abs=tolerance)
    assert found.agreed == expected.agreed
    assert found.right == expected.right


def answered(model: LoadedModel, example: Example) -> Example:
    """The example with what the model itself writes as references, one of them wrong in its third token."""
    answers = [answer.ids for answer in answer_questions(model, example, {tiny.COMMON["eos_token_id"]})]
    answers[1] = (*answers[1][:2], answers[1][2] ^ 1, *answers[1][3:])
    pairs = zip(example.questions, answers, strict=True)
    return dataclasses.replace(example, questions=tuple(dataclasses.replace(q, answer_ids=ids) for q, ids in pairs))


def attached_to(model: LoadedModel) -> int:
    """Hooks and exchanged forwards in the whole model."""
    modules = list(model.model.modules())
    hooks = sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in modules)
    return hooks + sum("forward" in vars(module) for module in modules)


@pytest.mark.usefixtures("_no_rounding")
def test_each_head_equals_a_whole_run_with_its_scale_at_zero(family: str, example: Example) -> None:
    model = tiny.shared(family)
    example = answered(model, example)
    heads = [head for head in all_heads(model) if head[1] in (0, 3)]
    base, *found = ablate(model, example, heads)
    assert_same(base, whole_run(model, example))
    assert base.part is None
    assert (base.right, base.agreed[1]) == ((True, False, True), 2)
    assert [one.part for one in found] == heads
    for one, head in zip(found, heads, strict=True):
        assert_same(one, whole_run(model, example, silencing(model, *head)))
    assert len({one.log_probabilities for one in (base, *found)}) == 1 + len(found)


@pytest.mark.usefixtures("_no_rounding")
@pytest.mark.parametrize("name", ["llama", "mistral", "bloom", SHARES_KEYS])
def test_questions_along_the_context_are_each_judged_at_their_place(name: str) -> None:
    model = tiny.shared(name)
    example = answered(model, tiny.along())
    assert len({example.stands_after(question) for question in example.questions}) == 3
    _, found = ablate(model, example, [Part(1, 2)])
    assert_same(found, whole_run(model, example, silencing(model, 1, 2)))


@pytest.mark.usefixtures("_no_rounding")
@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_an_empty_prefix_gives_the_same_numbers(name: str, example: Example) -> None:
    model = tiny.shared(name)
    questions = tuple(EncodedQuestion((*example.prefix_ids, *q.suffix_ids), q.answer_ids) for q in example.questions)
    empty = ablate(model, Example(example.sample, (), questions), [Part(1, 1)])
    for found, expected in zip(empty, ablate(model, example, [Part(1, 1)]), strict=True):
        assert_same(found, expected)


@pytest.mark.usefixtures("_no_rounding")
@pytest.mark.parametrize("method", ["seal-h", "seal-c", "seal-l"])
def test_heads_are_silenced_on_top_of_an_adapter(method: str, example: Example) -> None:
    model = tiny.load("llama", torch.float64)
    adapter = LowRank(method, model) if method == "seal-l" else randomised(method, model)
    with torch.no_grad():
        for parameter in adapter.parameters().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    plain, silent = ablate(model, example, [Part(1, 3)], adapter=adapter)
    assert_same(plain, whole_run(model, example, adapter))
    if method != "seal-l":
        assert_same(silent, whole_run(model, example, adapter, silencing(model, 1, 3)))
        return
    projection = model.projections[1]  # the low-rank path reads the same input: zero columns in the weight and in A
    down = next(p for name, p in adapter.parameters().items() if ".1.self_attn.o_proj.lora_A" in name)
    with torch.no_grad():
        for weight in (projection.weight, down):
            weight[:, 3 * projection.head_size :] = 0.0
    assert_same(silent, whole_run(model, example, adapter))


def test_silencing_a_head_whose_scale_is_zero_changes_nothing(example: Example) -> None:
    model = tiny.shared("llama")
    found = list(ablate(model, example, [Part(0, 2), Part(1, 2)], adapter=silencing(model, 1, 2)))
    assert_same(found[2], found[0])
    assert found[1].log_probabilities != found[0].log_probabilities


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt2"])
def test_the_number_of_heads_in_a_batch_changes_no_result(
    name: str, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.shared(name)
    results = []
    for free in (0, 10**12):
        monkeypatch.setattr(ablation, "free_memory", lambda _, free=free: free)
        results.append(list(ablate(model, example, all_heads(model))))
    for alone, together in zip(*results, strict=True):
        assert_same(alone, together)


@pytest.mark.parametrize("name", ["llama", "mistral", "mixtral", "gpt2"])
def test_the_layers_below_a_silenced_head_run_once_for_all_heads(name: str, example: Example) -> None:
    model = tiny.load(name, num_hidden_layers=4)
    ran: list[int] = []
    for projection in model.projections:
        projection.module.register_forward_hook(lambda *_, layer=projection.layer: ran.append(layer))
    results = ablate(model, example, [Part(2, head) for head in range(4)])
    next(results)
    assert ran == [0, 1, 2, 3] * 2  # the prefix, then the questions
    ran.clear()
    assert len(list(results)) == 4
    assert ran == [2, 3] * 2


def test_the_heads_come_from_the_lowest_layer_up_and_can_be_asked_for_in_several_goes(example: Example) -> None:
    model = tiny.shared("llama")
    heads = [Part(1, 3), Part(0, 2), Part(1, 0), Part(0, 2)]
    base, *found = ablate(model, example, heads)
    assert [one.part for one in found] == [(0, 2, None), (1, 0, None), (1, 3, None)]
    assert list(ablate(model, example, [])) == [base]
    for one in found:
        assert one.part is not None
        assert_same(list(ablate(model, example, [one.part]))[1], one)


@pytest.mark.usefixtures("_no_rounding")
@pytest.mark.parametrize("name", ["llama", "mistral", "qwen3_moe"])
def test_each_channel_equals_a_whole_run_with_its_scale_at_zero(name: str, example: Example) -> None:
    model = tiny.shared(name)
    example = answered(model, example)
    channels = all_channels(model, [Part(1, 2), Part(0, 3)])
    assert channels[0] == (0, 3, 0)
    assert len(channels) == 2 * model.projections[0].head_size
    wanted = [*channels[::7], Part(1, 2)]
    base, *found = ablate(model, example, wanted)
    assert {one.part for one in found} == set(wanted)
    for one in found:
        assert one.part is not None
        assert_same(one, whole_run(model, example, silencing(model, *one.part)))
        assert one.log_probabilities != base.log_probabilities


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (Part(2, 0), "layers go from 0 to 1"),
        (Part(1, 4), "heads there go from 0 to 3"),
        (Part(0, -1), "has no head -1"),
        (Part(1, 0, 8), "channels there go from 0 to 7"),
    ],
)
def test_a_missing_head_or_channel_is_refused_in_one_sentence(part: Part, says: str, example: Example) -> None:
    with pytest.raises(UsageError, match=says):
        next(ablate(tiny.shared("llama"), example, [part]))


@pytest.mark.parametrize("name", ["llama", SHARES_KEYS])
def test_nothing_stays_attached_between_results_or_after_an_exception(
    name: str, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.shared(name)
    attached, base = attached_to(model), whole_run(model, example)
    for _ in ablate(model, example, all_heads(model), adapter=silencing(model, 0, 1)):
        assert attached_to(model) == attached

    def fail(*_: object) -> NoReturn:
        assert attached_to(model) > attached
        raise KeyError

    results = ablate(model, example, [Part(1, 0)], adapter=silencing(model, 0, 1))
    next(results)
    monkeypatch.setattr(ablation, "answer_logits_of_variants", fail)
    with pytest.raises(KeyError):
        next(results)
    assert attached_to(model) == attached
    assert whole_run(model, example) == base


def test_layers_that_hand_each_other_more_than_hidden_states_are_told_from_plain_ones() -> None:
    class Layer(nn.Module):
        def forward(self, hidden: torch.Tensor, _chosen: torch.Tensor | None = None) -> tuple[torch.Tensor, ...]:
            return hidden + 1, torch.zeros(1)

    layers = [Layer(), Layer()]
    for linked in (False, True):
        with recorded(layers, {1}) as runs:
            hidden, chosen = layers[0](torch.zeros(1, 2, 3))
            layers[1](hidden, chosen if linked else None)
        assert runs.plain is not linked
        assert torch.equal(runs.hidden[1], torch.ones(1, 2, 3))
        assert runs.outputs == [2, 2]


@pytest.mark.usefixtures("_no_rounding")
@pytest.mark.parametrize("extend", ["ntk:2", "self-extend:group=4,window=8", "dca:2"])
def test_heads_of_an_extended_model_equal_whole_runs_too(extend: str, example: Example) -> None:
    plain = tiny.load("llama", torch.float64, max_position_embeddings=32)
    model = extended(tiny.load("llama", torch.float64, max_position_embeddings=32), extend)
    assert len(example.prefix_ids) > 32  # the extension is at work
    base, *found = ablate(model, example, all_heads(model))
    assert base.log_probabilities != whole_run(plain, example).log_probabilities
    for one in found:
        assert one.part is not None
        expected = whole_run(model, example, silencing(model, one.part.layer, one.part.head))
        torch.testing.assert_close(one.log_probabilities, expected.log_probabilities, rtol=1e-9, atol=1e-9)
