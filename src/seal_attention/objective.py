# SPDX-License-Identifier: Apache-2.0
"""An example -> its loss and the gradients of the scales, the prefix passing through the model once.

The loss looks at answer tokens alone (paper, section 4.1): the mean over a question's answer tokens, then the mean over
the context's questions. Gradients are exact: they equal those of one full prompt a question. Nothing of the prefix has
a loss of its own, so the questions run first on detached keys and values, and what they send back enters the prefix
once: through its kept graph, or, checkpointed, layer by layer with each layer recomputed from its kept input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import Cache, DynamicCache

from .devices import return_freed_memory
from .errors import UsageError
from .models import LoadedModel
from .packing import answer_logits
from .prompts import EncodedQuestion, Example
from .saved_tensors import lean_graph
from .shared_prefix import PrefixCache, chunk_for

Losses = Callable[[LoadedModel, Sequence[EncodedQuestion], PrefixCache], torch.Tensor]  # one a question


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
    losses: Losses = question_losses,
    checkpoint: bool = False,
    offload: bool = False,
    frozen_prefix: bool = False,
    positions: Sequence[int] | None = None,
) -> float:
    """Add the gradients of the example's loss, the mean of its questions' `losses`, to the attached adapters'
    parameters; returns the loss.

    `batch` questions run at a time (more: faster, more memory); `checkpoint` keeps only each layer's input of the
    prefix and recomputes the rest: about a layer's worth of activations instead of all layers'; `offload` keeps those
    inputs in the host's memory. `frozen_prefix` leaves out what the scales do to the prefix (its keys and values are
    read with the scales at work, but as if they were given): an approximation, at the memory of inference and without
    the backward pass of the prefix. `positions` are the prefix's, where they are not 0, 1, 2, ...
    """
    with lean_graph(model, len(example.prefix_ids)):
        if checkpoint:
            walk = _CheckpointedPrefix(model, offload)
            # The prefix's keys and values live no longer than its questions: the walk makes them anew.
            loss, gradients = _ask(model, example, batch, losses, walk.prefill(example.prefix_ids, positions))
            if model.device.type == "cpu":
                return_freed_memory()  # small holes, which nothing as long as the prefix would fit into
            walk.backward(gradients)
            return loss
        with torch.set_grad_enabled(not frozen_prefix):
            prefix = PrefixCache.prefill(
                model, example.prefix_ids, positions, chunk=chunk_for(model) if frozen_prefix else None
            )
        loss, gradients = _ask(model, example, batch, losses, prefix, frozen_prefix)
        targets = _with_graph(*zip(prefix.tensors(), gradients, strict=True))
        if targets:
            torch.autograd.backward([t for t, _ in targets], [g for _, g in targets])
        return loss


def _ask(
    model: LoadedModel, example: Example, batch: int, losses: Losses, prefix: PrefixCache, frozen: bool = False
) -> tuple[float, list[torch.Tensor | None]]:
    """The example's loss, and its gradients by the prefix's keys and values (k0, v0, k1, v1, ...; None if frozen)."""
    leaves = [tensor.detach().requires_grad_(not frozen) for tensor in prefix.tensors()]
    shared = prefix.with_tensors(leaves)
    total = 0.0
    with torch.enable_grad():
        for start in range(0, len(example.questions), batch):
            lost = losses(model, example.questions[start : start + batch], shared)
            (lost.sum() / len(example.questions)).backward()
            total += float(lost.detach().sum())
    return total / len(example.questions), [leaf.grad for leaf in leaves]


# What stands in a kept call where the layer's input and the cache stood: the call itself must keep neither alive.
_INPUT, _CACHE = object(), object()


class _CheckpointedPrefix:
    """A prefix prefilled without a graph, of which each decoder layer's input is kept, on the host with `offload`."""

    def __init__(self, model: LoadedModel, offload: bool) -> None:
        self.model = model
        self.offload = offload
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.inputs: list[tuple[torch.Tensor, torch.device]] = []  # (1, time, hidden), and the layer's device

    def prefill(self, prefix_ids: Sequence[int], positions: Sequence[int] | None) -> PrefixCache:
        """Keys and values of the prefix. UsageError where the layers can't be recomputed one at a time."""
        model = self.model
        handles = [layer.register_forward_pre_hook(self._keep, with_kwargs=True) for layer in model.decoder_layers]
        try:
            with torch.no_grad():
                prefix = PrefixCache.prefill(model, prefix_ids, positions)
        finally:
            for handle in handles:
                handle.remove()
        layers, pairs = len(model.decoder_layers), len(prefix.tensors()) // 2
        if prefix_ids and not (len(self.calls) == pairs == layers):
            raise UsageError(
                f"{model.name} runs layers more than once or shares keys and values between them ({layers} layers, "
                f"{len(self.calls)} runs, {pairs} pairs of keys and values), so --checkpoint can't recompute them one "
                "at a time; leave it out"
            )
        return prefix

    def _keep(self, _layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        kept = args[0] if args else kwargs["hidden_states"]

        def stored(value: Any) -> Any:
            return _INPUT if value is kept else _CACHE if isinstance(value, Cache) else value

        self.calls.append((tuple(map(stored, args)), {name: stored(value) for name, value in kwargs.items()}))
        self.inputs.append((_on_host(kept) if self.offload else kept, kept.device))

    def backward(self, gradients: list[torch.Tensor | None]) -> None:
        """Send the gradients of the keys and values (k0, v0, k1, v1, ...) down the layers, recomputing each once.

        What a layer needed is let go with it: its input, and its two of the gradients, whose list ends empty.
        """
        hidden_gradient = None
        while self.calls:
            value_gradient, key_gradient = gradients.pop(), gradients.pop()
            hidden_gradient = self._through_last(hidden_gradient, key_gradient, value_gradient)

    def _through_last(self, *gradients: torch.Tensor | None) -> torch.Tensor | None:
        """Gradients of the last layer's output, keys and values -> that of its input; the layer is then forgotten.

        A function of its own, so that nothing of a layer outlives it.
        """
        hidden, *outputs = self._again()
        targets = _with_graph(*zip(outputs, gradients, strict=True))
        if targets:
            torch.autograd.backward([t for t, _ in targets], [g for _, g in targets])
        return hidden.grad

    def _again(self) -> tuple[torch.Tensor, ...]:
        """Run the last layer once more, with a graph: its hidden input as a leaf, its output, its keys and values."""
        (args, kwargs), (kept, device) = self.calls.pop(), self.inputs.pop()
        index = len(self.calls)
        hidden = kept.to(device, non_blocking=True).detach().requires_grad_()
        cache = DynamicCache(config=self.model.model.config)

        def fresh(value: Any) -> Any:
            return hidden if value is _INPUT else cache if value is _CACHE else value

        with torch.enable_grad():
            output = self.model.decoder_layers[index](*map(fresh, args), **{k: fresh(v) for k, v in kwargs.items()})
        hidden_output = output[0] if isinstance(output, tuple) else output
        return hidden, hidden_output, cache.layers[index].keys, cache.layers[index].values


def _on_host(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in the host's memory: itself where it is there, pinned where it comes from a CUDA device.

    The copy may still be under way when this returns; what reads it back is queued behind it on the same device.
    """
    if tensor.device.type == "cpu":
        return tensor
    pinned = tensor.device.type == "cuda"
    return torch.empty_like(tensor, device="cpu", pin_memory=pinned).copy_(tensor, non_blocking=pinned)


def _with_graph(*pairs: tuple[torch.Tensor, torch.Tensor | None]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The tensors that a gradient arrived for and can be sent on through."""
    return [(tensor, gradient) for tensor, gradient in pairs if gradient is not None and tensor.requires_grad]
