# SPDX-License-Identifier: Apache-2.0
"""An example -> its loss and the gradients of the scales, the prefix passing through the model once.

The loss looks at answer tokens alone (paper, section 4.1): the mean over a question's answer tokens, then the mean over
the context's questions. Gradients are exact: they equal those of one full prompt a question. Nothing of the prefix has
a loss of its own, so the questions run first on detached keys and values, and what they send back enters the prefix
once: through its kept graph, or, checkpointed, layer by layer with each layer recomputed from its kept input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Cache, DynamicCache

from ..errors import UsageError
from ..models import LoadedModel
from ..prompts import EncodedQuestion, Example
from ..shared_prefix import PrefixCache, answer_logits, forgets, packs


def question_losses(model: LoadedModel, questions: Sequence[EncodedQuestion], prefix: PrefixCache) -> torch.Tensor:
    """Mean cross-entropy over each question's answer tokens, (questions,), float32 (float64 in a float64 model)."""
    logits = answer_logits(model, questions, prefix)
    losses = [
        functional.cross_entropy(
            rows if rows.dtype == torch.float64 else rows.float(), torch.tensor(question.answer_ids, device=rows.device)
        )
        for rows, question in zip(logits, questions, strict=True)
    ]
    return torch.stack(losses)


def accumulate_gradients(
    model: LoadedModel,
    example: Example,
    *,
    batch: int,
    checkpoint: bool = False,
    frozen_prefix: bool = False,
    positions: Sequence[int] | None = None,
    share: float = 1.0,
) -> float:
    """Add the gradients of the example's loss to the attached adapter's parameters; returns the loss.

    `batch` questions run at a time (more: faster, more memory); `checkpoint` keeps only each layer's input of the
    prefix and recomputes the rest: about a layer's worth of activations instead of all layers'. `frozen_prefix` leaves
    out what the scales do to the prefix (its keys and values are read with the scales at work, but as if they were
    given): an approximation, at the memory of inference and without the backward pass of the prefix. `positions` are
    the prefix's, where they are not 0, 1, 2, ...; `share` weighs the example's gradients.
    """
    parts = example.parts()
    if len(parts) > 1 and not packs(model, forgets(model)):  # no question can stand in the middle of the prefix
        total = 0.0
        for part in parts:
            share = len(part.questions) / len(example.questions)
            at = None if positions is None else positions[: len(part.prefix_ids)]
            loss = accumulate_gradients(
                model,
                part,
                batch=batch,
                checkpoint=checkpoint,
                frozen_prefix=frozen_prefix,
                positions=at,
                share=share,
            )
            total += loss * share
        return total
    if checkpoint:
        walked = _CheckpointedPrefix(model, example.prefix_ids, positions)
        prefix = walked.prefix
    else:
        with torch.set_grad_enabled(not frozen_prefix):
            prefix = PrefixCache.prefill(model, example.prefix_ids, positions)
    leaves = [tensor.detach().requires_grad_(not frozen_prefix) for tensor in prefix.tensors()]
    shared = prefix.with_tensors(leaves)
    total = 0.0
    with torch.enable_grad():
        for start in range(0, len(example.questions), batch):
            losses = question_losses(model, example.questions[start : start + batch], shared)
            (losses.sum() * share / len(example.questions)).backward()
            total += float(losses.detach().sum())
    if checkpoint:
        walked.backward([leaf.grad for leaf in leaves])
    else:
        pairs = [(t, leaf.grad) for t, leaf in zip(prefix.tensors(), leaves, strict=True) if t.requires_grad]
        if pairs:
            torch.autograd.backward([t for t, _ in pairs], [gradient for _, gradient in pairs])
    return total / len(example.questions)


class _CheckpointedPrefix:
    """A prefix prefilled without a graph, of which each decoder layer's input is kept."""

    def __init__(self, model: LoadedModel, prefix_ids: Sequence[int], positions: Sequence[int] | None) -> None:
        self.model = model
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        handles = [layer.register_forward_pre_hook(self._keep, with_kwargs=True) for layer in model.decoder_layers]
        try:
            with torch.no_grad():
                self.prefix = PrefixCache.prefill(model, prefix_ids, positions)
        finally:
            for handle in handles:
                handle.remove()
        layers, pairs = len(model.decoder_layers), len(self.prefix.tensors()) // 2
        if prefix_ids and not (len(self.calls) == pairs == layers):
            raise UsageError(
                f"{model.name} runs layers more than once or shares keys and values between them ({layers} layers, "
                f"{len(self.calls)} runs, {pairs} pairs of keys and values), so --checkpoint can't recompute them one "
                "at a time; leave it out"
            )

    def _keep(self, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.calls.append((args, kwargs))

    def backward(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Send the gradients of the keys and values (k0, v0, k1, v1, ...) down the layers, recomputing each once."""
        hidden_gradient = None
        for index in reversed(range(len(self.calls))):
            hidden, output, keys, values = self._again(index)
            key_gradient, value_gradient = gradients[2 * index : 2 * index + 2]
            targets = _with_graph((output, hidden_gradient), (keys, key_gradient), (values, value_gradient))
            if targets:
                torch.autograd.backward([t for t, _ in targets], [g for _, g in targets])
            hidden_gradient = hidden.grad
            self.calls[index] = ((), {})

    def _again(self, index: int) -> tuple[torch.Tensor, ...]:
        """Run a layer once more, with a graph: its hidden input as a leaf, its output, its keys and its values."""
        args, kwargs = self.calls[index]
        kept = args[0] if args else kwargs["hidden_states"]
        hidden, cache = kept.detach().requires_grad_(), DynamicCache(config=self.model.model.config)

        def fresh(value: Any) -> Any:
            return hidden if value is kept else cache if isinstance(value, Cache) else value

        with torch.enable_grad():
            output = self.model.decoder_layers[index](*map(fresh, args), **{k: fresh(v) for k, v in kwargs.items()})
        hidden_output = output[0] if isinstance(output, tuple) else output
        return hidden, hidden_output, cache.layers[index].keys, cache.layers[index].values


def _with_graph(*pairs: tuple[torch.Tensor, torch.Tensor | None]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The tensors that a gradient arrived for and can be sent on through."""
    return [(tensor, gradient) for tensor, gradient in pairs if gradient is not None and tensor.requires_grad]
