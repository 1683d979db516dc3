# SPDX-License-Identifier: Apache-2.0
"""What must hold in every family: scales sit on the heads and come off, gradients over a shared prefix are exact."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional

import tiny
from seal_attention.adapters import Scales
from seal_attention.errors import UsageError
from seal_attention.generation import answer_questions
from seal_attention.models import LoadedModel
from seal_attention.objective import accumulate_gradients
from seal_attention.prompts import EncodedQuestion, Example
from seal_attention.tuning.spreading import spread_positions

FORGET_THE_PREFIX = {
    "mistral",
    "gpt_neo",
    "starcoder2",
}  # behind their first layer, no layer sees so far back
SHARES_KEYS = "gemma4_text"  # its last layers attend to the keys of earlier ones: not to be recomputed one at a time
WALKS = [pytest.param(family, False, id=f"{family}-kept") for family in tiny.FAMILIES]
WALKS += [pytest.param(family, True, id=f"{family}-recomputed") for family in tiny.FAMILIES if family != SHARES_KEYS]


def prompt_ids(example: Example, question: EncodedQuestion) -> torch.Tensor:
    """The question's prompt and answer in one piece, (1, time)."""
    return torch.tensor([[*example.prompt_ids(question), *question.answer_ids]])


def logits(model: LoadedModel, example: Example) -> torch.Tensor:
    """Logits of the first question's whole prompt, (1, time, vocabulary)."""
    with torch.no_grad():
        return model.model(input_ids=prompt_ids(example, example.questions[0])).logits


def drawn_scales(method: str, model: LoadedModel) -> Scales:
    """Scales around 1, in float64 so that gradients can be compared to the last digits."""
    scales = Scales(method, model.projections)
    generator = torch.Generator().manual_seed(7)
    for parameter in scales.values.values():
        parameter.data = 1 + 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return scales


def hooks_of(model: LoadedModel) -> int:
    """Hooks in the whole model."""
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.model.modules())


@pytest.fixture
def _no_rounding() -> Iterator[None]:
    with tiny.Float64():
        yield


@pytest.mark.parametrize("method", ["seal-h", "seal-c"])
def test_scales_of_one_leave_the_logits_bit_equal(family: str, method: str, example: Example) -> None:
    model = tiny.shared(family, torch.float32)
    base = logits(model, example)
    with Scales(method, model.projections).attached(model):
        assert torch.equal(logits(model, example), base)


def test_no_hook_outlives_its_context_even_after_an_exception(family_model: LoadedModel, example: Example) -> None:
    base, hooks = logits(family_model, example), hooks_of(family_model)
    scales = drawn_scales("seal-h", family_model)

    def fail_halfway() -> None:
        with scales.attached(family_model):
            assert hooks_of(family_model) == hooks + len(family_model.projections)
            assert not torch.allclose(logits(family_model, example), base)
            raise KeyError

    with pytest.raises(KeyError):
        fail_halfway()
    assert hooks_of(family_model) == hooks
    assert torch.equal(logits(family_model, example), base)


def test_a_zero_head_scale_equals_zeroed_weight_columns(family: str, example: Example) -> None:
    model = tiny.load(family, torch.float64)
    scales = Scales("seal-h", model.projections)
    with torch.no_grad():
        for projection in model.projections:
            scales.values[projection.name][1] = 0.0
    with scales.attached(model):
        scaled = logits(model, example)
    with torch.no_grad():
        for projection in model.projections:
            projection.weight[:, projection.head_size : 2 * projection.head_size] = 0.0
    assert torch.allclose(logits(model, example), scaled, rtol=0, atol=1e-12)


def test_scaling_before_the_projection_differs_from_scaling_after(family_model: LoadedModel, example: Example) -> None:
    projection = family_model.projections[0]
    scales = Scales("seal-h", family_model.projections)
    scales.values[projection.name].data[0] = 0.0
    with scales.attached(family_model):
        before = logits(family_model, example)

    def scale_output(_module: nn.Module, _inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        factors = torch.ones(output.shape[-1], dtype=output.dtype)
        factors[: projection.head_size] = 0.0
        return output * factors

    handle = projection.module.register_forward_hook(scale_output)
    after = logits(family_model, example)
    handle.remove()
    assert not torch.allclose(before, after)


@pytest.mark.usefixtures("_no_rounding")
@pytest.mark.parametrize(
    ("method", "spread"), [("seal-h", False), ("seal-c", False), ("seal-c", True)], ids=["h", "c", "c-spread"]
)
@pytest.mark.parametrize(("family", "checkpoint"), WALKS)
def test_gradients_over_a_shared_prefix_equal_those_of_separate_full_prompts(
    family: str, method: str, checkpoint: bool, spread: bool, example: Example
) -> None:
    model = tiny.shared(family)
    positions = spread_positions(example, 300, "0") if spread else None
    if spread and not model.takes_positions:
        with pytest.raises(UsageError, match="takes no positions"):
            accumulate_gradients(model, example, batch=1, checkpoint=checkpoint, positions=positions)
        return
    expected_loss, expected = of_full_prompts(family, method, tuple(positions or ()))
    scales = drawn_scales(method, model)
    with scales.attached(model):
        for batch in (2, 3):  # two and one, and all at once
            loss = accumulate_gradients(model, example, batch=batch, checkpoint=checkpoint, positions=positions)
            assert loss == pytest.approx(expected_loss, abs=1e-9)
            for parameter, gradient in zip(scales.values.values(), expected, strict=True):
                assert gradient.abs().max() > 1e-6
                assert torch.allclose(parameter.grad, gradient, rtol=0, atol=1e-9)
                parameter.grad = None


@functools.cache
def of_full_prompts(family: str, method: str, positions: tuple[int, ...]) -> tuple[float, tuple[torch.Tensor, ...]]:
    """Loss and gradients of the drawn scales, each question of the tiny example a full prompt of its own."""
    model, example = tiny.shared(family), tiny.example()
    scales = drawn_scales(method, model)
    with scales.attached(model):
        losses = []
        for question in example.questions:
            ids, given = prompt_ids(example, question), {}
            if positions:
                after = range(positions[-1] + 1, positions[-1] + 1 + ids.shape[1] - len(positions))
                given["position_ids"] = torch.tensor([[*positions, *after]])
                given["attention_mask"] = torch.ones_like(ids)  # else jumps would be read as packed texts
            rows = model.model(input_ids=ids, **given).logits[0, -len(question.answer_ids) - 1 : -1]
            losses.append(functional.cross_entropy(rows, torch.tensor(question.answer_ids)))
        loss = torch.stack(losses).mean()
        return float(loss.detach()), torch.autograd.grad(loss, list(scales.values.values()))


@pytest.mark.usefixtures("_no_rounding")
def test_a_frozen_prefix_leaves_out_only_what_the_scales_do_to_the_prefix(family: str, example: Example) -> None:
    """No question reads more of the last layer's scales in the prefix; of the first layer's it does."""
    model = tiny.shared(family)
    scales = drawn_scales("seal-c", model)
    gradients = {}
    with scales.attached(model):
        for frozen in (False, True):
            loss = accumulate_gradients(model, example, batch=2, frozen_prefix=frozen)
            gradients[frozen] = [parameter.grad.clone() for parameter in scales.values.values()], loss
            for parameter in scales.values.values():
                parameter.grad = None
    (exact, exact_loss), (frozen_ones, frozen_loss) = gradients[False], gradients[True]
    assert frozen_loss == pytest.approx(exact_loss, abs=1e-12)
    assert torch.allclose(frozen_ones[-1], exact[-1], rtol=0, atol=1e-12)
    differs = not torch.allclose(frozen_ones[0], exact[0], rtol=1e-3, atol=0)
    assert differs == (family not in FORGET_THE_PREFIX)


def test_the_shared_prefix_is_longer_than_any_sliding_window(example: Example) -> None:
    assert len(example.prefix_ids) > 2 * tiny.WINDOW
    assert len({len(question.suffix_ids) for question in example.questions}) == 3


def test_recomputing_layer_by_layer_is_refused_where_layers_share_keys(example: Example) -> None:
    model = tiny.shared(SHARES_KEYS)
    with drawn_scales("seal-h", model).attached(model), pytest.raises(UsageError, match="leave it out"):
        accumulate_gradients(model, example, batch=1, checkpoint=True)


@pytest.mark.parametrize("name", tiny.UNSHAREABLE)
def test_a_family_whose_state_can_not_be_shared_is_refused_in_one_sentence(name: str, example: Example) -> None:
    model = tiny.load(name)
    for act in (lambda: accumulate_gradients(model, example, batch=1), lambda: answer_questions(model, example, {1})):
        with pytest.raises(UsageError, match="questions can't share a prefix; choose a model") as refusal:
            act()
        assert model.name in str(refusal.value)
        assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("_no_rounding")
@pytest.mark.parametrize("checkpoint", [False, True], ids=["kept", "recomputed"])
def test_an_empty_prefix_gives_the_same_gradients(checkpoint: bool, example: Example) -> None:
    model = tiny.shared("mistral")
    questions = tuple(EncodedQuestion((*example.prefix_ids, *q.suffix_ids), q.answer_ids) for q in example.questions)
    gradients = []
    for case in (example, Example(example.sample, (), questions)):
        scales = drawn_scales("seal-c", model)
        with scales.attached(model):
            accumulate_gradients(model, case, batch=2, checkpoint=checkpoint)
        gradients.append([parameter.grad for parameter in scales.values.values()])
    for shared, separate in zip(*gradients, strict=True):
        assert torch.allclose(shared, separate, rtol=0, atol=1e-9)
