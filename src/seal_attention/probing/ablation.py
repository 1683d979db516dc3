# SPDX-License-Identifier: Apache-2.0
"""A model, an example and attention heads or channels -> how well its questions are answered with each silenced.

Pruning one head at a time is how the paper finds the heads that help and those that hurt (section 3.1), pruning one
channel at a time what it finds inside a head (3.3). Silencing a head multiplies its channels at the input of its
layer's output projection by 0, as a SEAL-H scale of 0 does; silencing a channel multiplies that one alone. Whatever
lies below does not change, so the layers are walked once and each run starts at its own layer; what is silenced in one
layer makes the rows of one batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import nn

from ..adapters import Adapter
from ..errors import UsageError
from ..models import LoadedModel
from ..packing import answer_logits_of_variants, packs
from ..projections import OutputProjection
from ..prompts import EncodedQuestion, Example
from ..shared_prefix import PrefixCache, forgets, free_memory
from .layer_walk import LayerRuns, recorded, resumed

LAYER_WIDTHS = 24  # what a layer holds of a token while it runs, in hidden states: projections and feed-forward


class Part(NamedTuple):
    """What is silenced: a head of a layer, or with `channel` (counted within the head) that channel of it alone."""

    layer: int
    head: int
    channel: int | None = None


@dataclass(frozen=True)
class Ablated:
    """How the questions of one example fare with `part` silenced, None where nothing is.

    For each question: `log_probabilities` of the whole reference answer (natural logarithm, summed over its tokens),
    `agreed`, how many of its leading tokens greedy decoding would write, and `right`, whether it would write them all.
    """

    part: Part | None
    log_probabilities: tuple[float, ...]
    agreed: tuple[int, ...]
    right: tuple[bool, ...]


def all_heads(model: LoadedModel) -> list[Part]:
    """Every head of the model, from the first layer up."""
    return [Part(projection.layer, head) for projection in model.projections for head in range(projection.heads)]


def all_channels(model: LoadedModel, heads: Collection[Part]) -> list[Part]:
    """Every channel of each of the heads. UsageError for a head that the model does not have."""
    return [
        Part(projection.layer, part.head, channel)
        for projection, own in _by_layer(model, heads)
        for part in own
        for channel in range(projection.head_size)
    ]


def ablate(
    model: LoadedModel, example: Example, parts: Collection[Part], *, adapter: Adapter | None = None
) -> Iterator[Ablated]:
    """First the model as it is, then with each of `parts` silenced, from the lowest layer up.

    Each equals a whole run of the model with that head's scale at 0 (or those of its channel), on top of `adapter`
    where one is given. Nothing stays attached between two results, so a caller may record them, stop, and ask for the
    remaining parts another day. Held meanwhile are the prefix's keys and values and the input of each layer that has
    something to silence. Where layers hand more to each other than hidden states, every run starts at the first:
    slower, the same numbers. UsageError for a head or channel that the model does not have.
    """
    layers = _by_layer(model, parts)
    groups = _runnable(model, example)
    order = torch.tensor([place for _, places in groups for place in places]).argsort()
    walks = [_Walk(model, part, [projection.layer for projection, _ in layers], adapter) for part, _ in groups]
    yield _ablated(None, torch.cat([walk.base for walk in walks], dim=1)[0, order])
    for projection, own in layers:
        batch = min(walk.variants_that_fit for walk in walks)
        for start in range(0, len(own), batch):
            silenced = own[start : start + batch]
            judged = torch.cat([walk.judged_without(projection, silenced) for walk in walks], dim=1)[:, order]
            for part, row in zip(silenced, judged, strict=True):
                yield _ablated(part, row)


def _by_layer(model: LoadedModel, parts: Collection[Part]) -> list[tuple[OutputProjection, list[Part]]]:
    """The projections that have something to silence, in layer order, each with its parts by head and channel."""
    by_number = {projection.layer: projection for projection in model.projections}
    for part in parts:
        if part.layer not in by_number:
            raise UsageError(
                f"{model.name} has no attention in layer {part.layer}; its attention layers go from {min(by_number)} "
                f"to {max(by_number)}"
            )
        projection = by_number[part.layer]
        if not 0 <= part.head < projection.heads:
            raise UsageError(
                f"{model.name} has no head {part.head} in layer {part.layer}; its heads there go from 0 to "
                f"{projection.heads - 1}"
            )
        if part.channel is not None and not 0 <= part.channel < projection.head_size:
            raise UsageError(
                f"{model.name} has no channel {part.channel} in a head of layer {part.layer}; its channels there go "
                f"from 0 to {projection.head_size - 1}"
            )
    ordered = sorted(set(parts), key=lambda part: (part.layer, part.head, -1 if part.channel is None else part.channel))
    return [(by_number[layer], list(own)) for layer, own in groupby(ordered, key=lambda part: part.layer)]


def _runnable(model: LoadedModel, example: Example) -> list[tuple[Example, list[int]]]:
    """The example as the model can run it, each part with the places of its questions in the whole.

    One part where questions can stand anywhere in a prefix, else one for each place that questions stand after.
    """
    if packs(model, forgets(model)):
        return [(example, list(range(len(example.questions))))]
    after = [example.stands_after(question) for question in example.questions]
    return [(part, [n for n, own in enumerate(after) if own == len(part.prefix_ids)]) for part in example.parts()]


class _Walk:
    """A prefix and the questions that stand after it, run through the model once; then from any wanted layer on."""

    def __init__(self, model: LoadedModel, example: Example, wanted: Collection[int], adapter: Adapter | None) -> None:
        self.model = model
        self.example = example
        self.adapter = adapter
        self.layers = model.decoder_layers
        with self._ready():
            with recorded(self.layers, wanted) as self.prefix_runs:
                self.prefix = PrefixCache.prefill(model, example.prefix_ids)
            with recorded(self.layers, wanted) as self.question_runs:
                logits = answer_logits_of_variants(model, example.questions, self.prefix)
        self.base = _judged(logits, example.questions)
        self.logits_size = sum(rows.numel() for rows in logits)
        pairs = len(self.prefix.tensors()) // 2
        runs = (self.prefix_runs, self.question_runs)
        self.resumable = all(run.plain and len(run.order) == pairs == len(self.layers) for run in runs)

    @contextlib.contextmanager
    def _ready(self) -> Iterator[None]:
        attached = self.adapter.attached(self.model) if self.adapter is not None else contextlib.nullcontext()
        with torch.no_grad(), attached:
            yield

    @property
    def variants_that_fit(self) -> int:
        """How many parts may be silenced in one batch: a third of the free memory, at least one."""
        element = self.model.model.dtype.itemsize
        packed = packs(self.model, self.prefix.forgets)
        rows = 1 if packed else len(self.example.questions)
        tokens = self.example.tokens if packed else self.example.longest_prompt * rows
        keys_and_values = sum(tensor.numel() for tensor in self.prefix.tensors()) * (1 + rows)
        layer = tokens * self.model.model.get_input_embeddings().weight.shape[-1] * LAYER_WIDTHS
        if self.model.writes_scores:
            layer += 2 * self.model.projections[0].heads * self.example.longest_prompt**2
        one = (keys_and_values + layer) * element + self.logits_size * (element + 4)
        return max(1, free_memory(self.model.device) // 3 // one)

    def judged_without(self, projection: OutputProjection, parts: Sequence[Part]) -> torch.Tensor:
        """`_judged` of the questions with each of one layer's parts silenced in turn."""
        with self._ready(), _silenced(self.model, projection, parts):
            with self._from(projection.layer, self.prefix_runs):
                prefix = PrefixCache.prefill(self.model, self.example.prefix_ids, variants=len(parts))
            with self._from(projection.layer, self.question_runs):
                logits = answer_logits_of_variants(self.model, self.example.questions, prefix)
        return _judged(logits, self.example.questions)

    def _from(self, layer: int, runs: LayerRuns) -> contextlib.AbstractContextManager[None]:
        if not self.resumable:
            return contextlib.nullcontext()
        return resumed(self.layers, layer, runs, self.prefix.rows(1))


@contextlib.contextmanager
def _silenced(model: LoadedModel, projection: OutputProjection, parts: Sequence[Part]) -> Iterator[None]:
    """The batch's rows fall into as many equal stretches as there are parts; in each, its part is silenced."""
    scales = torch.ones(len(parts), projection.heads, projection.head_size)
    for own, part in zip(scales, parts, strict=True):
        own[part.head, slice(None) if part.channel is None else part.channel] = 0.0
    channel_scales = scales.flatten(1)[:, None]  # (parts, 1, channels)

    def scale(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        heads_out = inputs[0]  # (parts * rows of each, time, channels)
        stretches = heads_out.reshape(len(parts), -1, projection.channels)
        return ((stretches * channel_scales.to(heads_out)).reshape(heads_out.shape), *inputs[1:])

    # By its name: an attached LoRA has put its own module in the projection's place, and reads the same input.
    handle = model.model.get_submodule(projection.name).register_forward_pre_hook(scale)
    try:
        yield
    finally:
        handle.remove()


def _judged(logits: Sequence[torch.Tensor], questions: Sequence[EncodedQuestion]) -> torch.Tensor:
    """Answer logits, each (variants, answer length, vocabulary) -> (variants, questions, 3), float64 on the CPU.

    The three are the reference answer's log-probability, summed in float32 (float64 in a float64 model), how many of
    its leading tokens are the likeliest, and how many tokens it has.
    """
    columns = []
    for rows, question in zip(logits, questions, strict=True):
        answer = torch.tensor(question.answer_ids, device=rows.device)
        exact = rows if rows.dtype == torch.float64 else rows.float()
        written = exact[:, torch.arange(len(answer), device=rows.device), answer]  # (variants, answer length)
        log_probability = (written - exact.logsumexp(-1)).sum(-1)
        agreed = (exact.argmax(-1) == answer).cumprod(-1).sum(-1)
        length = torch.full_like(agreed, len(answer))
        columns.append(torch.stack([part.cpu().double() for part in (log_probability, agreed, length)], dim=-1))
    return torch.stack(columns, dim=1)


def _ablated(part: Part | None, judged: torch.Tensor) -> Ablated:
    """One row of `_judged`, (questions, 3), as the caller gets it."""
    log_probabilities, agreed, length = judged.unbind(-1)
    return Ablated(
        part,
        tuple(log_probabilities.tolist()),
        tuple(agreed.int().tolist()),
        tuple((agreed == length).tolist()),
    )
