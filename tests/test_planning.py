# SPDX-License-Identifier: Apache-2.0
"""Claims about the plan's time: its operations are those that PyTorch counts while a model runs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import tiny
from seal_attention.planning import Operations, Products
from seal_attention.prompts import Encoder, Example
from seal_attention.shapes import Shapes

KINDS = {"mm": "linears", "bmm": "attention"}


def counted(ids: torch.Tensor, backward: bool = False) -> Counter[str]:
    """What the products of a tiny llama without its vocabulary take, forward or also backward to its input, by kind."""
    model = tiny.load("llama").model
    model.set_attn_implementation("eager")
    given = model.get_input_embeddings()(ids).detach().requires_grad_(backward)
    with FlopCounterMode(display=False) as counter:
        hidden = model.get_decoder()(inputs_embeds=given, use_cache=False).last_hidden_state
        if backward:
            hidden.sum().backward()
    kinds: Counter[str] = Counter()
    for operation, count in counter.get_flop_counts()["Global"].items():
        kinds[KINDS[str(operation).split(".")[-1]]] += count
    return kinds


@pytest.fixture
def example() -> Example:
    return Encoder(tiny.tokenizer()).encode(tiny.sample())


@pytest.fixture
def shapes() -> Shapes:
    return Shapes.of(tiny.load("llama"), torch.float32, torch.device("cpu"))


def test_operations_are_those_of_the_products(example: Example, shapes: Shapes) -> None:
    question = example.questions[0]
    one = replace(example, questions=(question,))
    ids = torch.tensor([[*example.prefix_ids, *question.suffix_ids, *question.answer_ids[:-1]]])
    products = counted(ids)
    planned = Operations.of(replace(shapes, embeddings=0), one)
    linears, attention = (
        getattr(planned.prefix, kind) + getattr(planned.asked, kind) for kind in ("linears", "attention")
    )
    assert linears == pytest.approx(products["linears"], rel=0.02)  # norms' weights are counted along
    assert attention == pytest.approx(products["attention"] / 2)  # eager attention writes down the future too


def test_a_backward_pass_to_a_frozen_linears_input_costs_what_its_forward_did() -> None:
    ids = torch.arange(7, 57)[None]
    forward, both = (counted(ids, backward)["linears"] for backward in (False, True))
    linears = Products(float(forward), 0.0)
    assert linears.forward + linears.backward == both


def test_a_recomputed_prefix_is_read_twice_and_a_frozen_one_never_backward(example: Example, shapes: Shapes) -> None:
    work = Operations.of(shapes, example)
    asked = work.asked.forward + work.asked.backward
    assert work.tuning(checkpoint=True) - work.tuning(checkpoint=False) == pytest.approx(work.prefix.forward)
    assert work.tuning(checkpoint=False, frozen=True) == pytest.approx(work.prefix.forward + asked)
    assert work.asking == work.prefix.forward + work.asked.forward


def test_questions_cost_their_own_tokens_and_the_prefix_they_look_at(example: Example, shapes: Shapes) -> None:
    short, long = (Operations.of(shapes, replace(example, prefix_ids=(7,) * count)).asked for count in (50, 250))
    assert long.linears == short.linears
    tokens = sum(len(question.suffix_ids) + len(question.answer_ids) - 1 for question in example.questions)
    assert long.attention - short.attention == 4 * shapes.layers * shapes.heads * shapes.head_size * tokens * 200
    logits = 2 * shapes.vocabulary * shapes.hidden * sum(len(question.answer_ids) for question in example.questions)
    assert short.linears == 2 * shapes.parameters_a_token * tokens + logits
