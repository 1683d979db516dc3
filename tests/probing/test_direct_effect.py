# SPDX-License-Identifier: Apache-2.0
"""Direct effects add up to the model's own logits, family by family, and each part is what it is said to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import tiny
from adapting import randomised
from seal_attention.adapters import Adapter, LowRank, Scales
from seal_attention.errors import UsageError
from seal_attention.models import LoadedModel
from seal_attention.probing import direct_probe
from seal_attention.probing.direct_effect import Effects, direct_effects
from seal_attention.probing.questions import at_work, prefix_of
from seal_attention.probing.residual_parts import Parts, read_parts
from seal_attention.prompts import Example
from seal_attention.runs import Run

TOKENS = (7, 30, 211)
MORE_THAN_A_SUM = ("gemma4_text",)  # multiplies its stream layer by layer, and adds a third term
MULTIPLIERS = {"residual_multiplier": 0.22, "logits_scaling": 8.0, "embedding_multiplier": 12.0}


@pytest.fixture
def _no_rounding() -> Iterator[None]:
    with tiny.Float64():
        yield


def parts_of(model: LoadedModel, example: Example, adapter: Adapter | None = None) -> Parts:
    """The last position of the first question's prompt, taken apart."""
    with at_work(model, adapter):
        return read_parts(model, example.questions[0].suffix_ids, prefix_of(model, example).rows(1))


def own_logits(model: LoadedModel, example: Example, adapter: Adapter | None = None) -> torch.Tensor:
    """What the model says of TOKENS after the whole prompt, read in one piece."""
    with at_work(model, adapter):
        ids = torch.tensor([example.prompt_ids(example.questions[0])])
        return model.model(input_ids=ids).logits[0, -1, list(TOKENS)].double()


def said(model: LoadedModel, effects: Effects) -> torch.Tensor:
    """The logits that the effects add up to, through the soft cap of a model that has one."""
    cap = getattr(model.model.config.get_text_config(decoder=True), "final_logit_softcapping", None)
    assert effects.capped is (cap is not None)
    return cap * torch.tanh(effects.total / cap) if cap else effects.total


@pytest.mark.usefixtures("_no_rounding")
def test_frozen_effects_add_up_to_the_models_own_logits(family: str, example: Example) -> None:
    model = tiny.shared(family)
    if family in MORE_THAN_A_SUM:
        with pytest.raises(UsageError, match="layer 0 of tiny gemma4_text does more than add"):
            parts_of(model, example)
        return
    effects = direct_effects(model, parts_of(model, example), TOKENS)
    torch.testing.assert_close(said(model, effects), own_logits(model, example), rtol=0, atol=1e-9)
    assert float(effects.heads.abs().min()) > 0


@pytest.mark.parametrize(("name", "changes"), [("llama", {}), ("granite", MULTIPLIERS), ("gemma2", {})])
def test_in_float32_they_add_up_within_a_ten_thousandth(name: str, changes: dict[str, Any], example: Example) -> None:
    model = tiny.load(name, torch.float32, **changes)
    effects = direct_effects(model, parts_of(model, example), TOKENS)
    torch.testing.assert_close(said(model, effects), own_logits(model, example), rtol=1e-4, atol=1e-5)


# What reads the stream between a layer's attention and its MLP; in a parallel block nothing does.
READERS = {"llama": "post_attention_layernorm", "gemma2": "pre_feedforward_layernorm"}
READERS |= {"granite": "post_attention_layernorm", "gpt_neox": ""}


@pytest.mark.usefixtures("_no_rounding")
@pytest.mark.parametrize("name", list(READERS))
def test_the_heads_of_a_layer_add_up_to_what_its_attention_adds(name: str, example: Example) -> None:
    model = tiny.load(name, torch.float64, **(MULTIPLIERS if name == "granite" else {}))
    before, after = [], []
    for layer in model.decoder_layers:
        layer.register_forward_pre_hook(lambda _, args: before.append(args[0][0, -1]))
        if READERS[name]:
            reader = layer.get_submodule(READERS[name])
            reader.register_forward_pre_hook(lambda _, args: after.append(args[0][0, -1]))
        else:
            dense = layer.get_submodule("attention.dense")
            dense.register_forward_hook(lambda _module, _args, output: after.append(before[-1] + output[0, -1]))
    parts = parts_of(model, example)
    for layer in range(2):
        attention = parts.heads[layer].sum(0) + parts.attention_biases[layer]
        torch.testing.assert_close(attention, after[2 + layer] - before[2 + layer], rtol=0, atol=1e-9)


def test_without_the_norm_a_head_adds_the_vocabularys_rows_times_its_columns(example: Example) -> None:
    model = tiny.load("llama", torch.float64)
    adapter = randomised("seal-c", model)
    heads_out: list[torch.Tensor] = []
    projection = model.projections[1]
    projection.module.register_forward_pre_hook(lambda _, args: heads_out.append(args[0][0, -1]))
    effects = direct_effects(model, parts_of(model, example, adapter), TOKENS, "none")
    scaled = heads_out[1] * adapter.channel_scales(projection.name).double()  # after the prefix's
    rows = model.model.get_output_embeddings().weight[list(TOKENS)]
    for head in range(4):
        own = slice(head * projection.head_size, (head + 1) * projection.head_size)
        expected = rows @ projection.weight[:, own] @ scaled[own]
        torch.testing.assert_close(effects.heads[:, 1, head], expected.detach(), rtol=0, atol=1e-6)
    assert float((effects.total - effects.logits).abs().min()) > 1e-2
    assert torch.equal(effects.rest, torch.zeros(3, dtype=torch.float64))


def test_a_scale_of_the_last_layer_scales_its_heads_own_effect_alone(example: Example) -> None:
    model = tiny.shared("qwen2")
    half = Scales("seal-h", model.projections)
    half.values[model.projections[1].name].data[2] = 0.5
    plain, scaled = (direct_effects(model, parts_of(model, example, a), TOKENS, "none").heads for a in (None, half))
    torch.testing.assert_close(scaled[:, 1, 2], 0.5 * plain[:, 1, 2])
    plain[:, 1, 2] = scaled[:, 1, 2] = 0
    torch.testing.assert_close(scaled, plain)


@pytest.mark.parametrize("method", ["seal-h", "seal-d"])
def test_effects_add_up_with_an_adapter_at_work(method: str, example: Example) -> None:
    model = tiny.load("llama", torch.float64)
    adapter = LowRank(method, model) if method == "seal-d" else randomised(method, model)
    with torch.no_grad():
        for parameter in adapter.parameters().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    effects = direct_effects(model, parts_of(model, example, adapter), TOKENS)
    torch.testing.assert_close(effects.total, own_logits(model, example, adapter), rtol=0, atol=1e-5)
    assert float((effects.total - own_logits(model, example)).abs().max()) > 1e-2


def served(model: LoadedModel, adapter: Adapter, example: Example) -> dict[int, tuple[int, int, int]]:
    """By hand: question -> (place, right, wrong) where the base writes one of the first three tokens otherwise."""
    found = {}
    for number, question in enumerate(example.questions):
        written = []
        for attached in (None, adapter):
            ids = torch.tensor([[*example.prompt_ids(question), *question.answer_ids[:2]]])
            with at_work(model, attached):
                written.append(model.model(input_ids=ids).logits[0, -3:].argmax(-1).tolist())
        base, tuned = written
        wrong = [place for place in range(3) if base[place] != question.answer_ids[place]]
        if wrong and tuned == list(question.answer_ids[:3]):
            found[number] = (wrong[0], question.answer_ids[wrong[0]], base[wrong[0]])
    return found


def answered(model: LoadedModel, adapter: Adapter, example: Example) -> Example:
    """The references are the first tokens that the adapted model writes; the last question's is one it does not."""
    questions = []
    for question in example.questions:
        ids = list(example.prompt_ids(question))
        with at_work(model, adapter):
            for _ in range(3):
                ids.append(int(model.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        questions.append(dataclasses.replace(question, answer_ids=tuple(ids[-3:])))
    first, second, third = questions[-1].answer_ids
    questions[-1] = dataclasses.replace(questions[-1], answer_ids=(first, second, third ^ 1))
    return dataclasses.replace(example, questions=tuple(questions))


class Stopping:
    """Stops a job after its first example."""

    def begin(self, title: str, cost: float) -> None:
        """It starts."""

    def advance(self, cost: float, note: str = "") -> None:
        """The first example is done."""
        raise KeyboardInterrupt

    def end(self) -> None:
        """It is over."""


def test_questions_that_the_base_gets_wrong_and_the_tuned_right_are_found_and_resumed(
    tmp_path: Path, example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.shared("llama")
    adapter = randomised("seal-h", model)
    first = answered(model, adapter, example)
    second = dataclasses.replace(first, sample=dataclasses.replace(first.sample, identifier="tiny/1"))
    monkeypatch.setattr(direct_probe, "answer_tokens", lambda _encoder, _question: range(3))
    whole = Run.open(tmp_path / "whole", "probe", {})
    results = direct_probe.measure(whole, model, [first, second], adapter=adapter)
    expected = served(model, adapter, first)
    records = whole.records(direct_probe.RECORDS)
    found = {n: (r["given"], *r["tokens"]) for n, r in enumerate(records[:3]) if r["used"]}
    assert found == expected
    assert 0 < len(expected) < 3
    assert (results["questions"], results["used"]) == (6, 2 * len(expected))
    assert results["largest_gap"] < 1e-5
    titles = [one["title"] for one in results["maps"]]
    assert titles[:3] == [f"direct effect, {role}, before" for role in ("right", "wrong", "right minus wrong")]
    right, wrong, between = (torch.tensor(one["values"]) for one in results["maps"][3:])
    torch.testing.assert_close(between, right - wrong, rtol=0, atol=1e-5)
    sums = {(one["phase"], one["token"]): one for one in results["sums"]}
    assert sums["before", "wrong"]["logit"] > sums["before", "right"]["logit"]
    assert sums["after", "right"]["logit"] > sums["after", "wrong"]["logit"]
    assert results["bars"][0]["series"][0]["name"] == "right, before"

    stopped = Run.open(tmp_path / "stopped", "probe", {})
    with pytest.raises(KeyboardInterrupt):
        direct_probe.measure(stopped, model, [first, second], adapter=adapter, watcher=Stopping())
    assert len(stopped.records(direct_probe.RECORDS)) == 3
    assert direct_probe.measure(stopped, model, [first, second], adapter=adapter) == results


def test_chosen_tokens_are_taken_apart_at_the_end_of_every_prompt(tmp_path: Path, example: Example) -> None:
    model = tiny.shared("gpt_neox")
    results = direct_probe.measure(Run.open(tmp_path, "probe", {}), model, [example], tokens=TOKENS)
    logits = torch.stack([own_logits(model, dataclasses.replace(example, questions=(q,))) for q in example.questions])
    assert [one["logit"] for one in results["sums"]] == pytest.approx(logits.mean(0).tolist(), abs=1e-5)
    assert (results["used"], len(results["maps"])) == (3, 3)


def test_what_can_not_be_meant_is_refused_in_one_sentence(tmp_path: Path, example: Example) -> None:
    model = tiny.shared("llama")
    with pytest.raises(UsageError, match="--norm takes frozen or none, not 'real'"):
        direct_effects(model, parts_of(model, example), TOKENS, "real")
    assert direct_probe.token_ids(model, ["a", " "]) == model.tokenizer("a ")["input_ids"]
    with pytest.raises(UsageError, match="'qz' is 2 for tiny llama"):
        direct_probe.token_ids(model, ["a", "qz"])
    right = answered(model, Scales("seal-h", model.projections), example)  # what the base itself writes
    asked = (dataclasses.replace(right.sample.questions[0], target="0"),)
    agreed = Example(dataclasses.replace(right.sample, questions=asked), right.prefix_ids, right.questions[:1])
    with pytest.raises(UsageError, match="none of the 1 questions is one that the base gets wrong; ask more"):
        direct_probe.measure(Run.open(tmp_path, "probe", {}), model, [agreed])
