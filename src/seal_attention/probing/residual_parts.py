# SPDX-License-Identifier: Apache-2.0
"""Ids behind a prefix -> what each attention head and each MLP adds to the residual stream at the last position.

Nothing here knows a family. Each layer is watched while it runs, and its MLP is the module whose output, together with
the attention's, makes the layer's output out of its input (times one factor, which Granite's blocks have); a norm
between an output and the stream is frozen (frozen_norm.py). What does not add up is refused.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import Cache

from ..errors import UsageError
from ..models import LoadedModel
from ..projections import OutputProjection
from .frozen_norm import FrozenNorm, nothing, rounding


@dataclass(frozen=True)
class Parts:
    """The residual stream of one position before the final norm as a sum, float64 on the CPU.

    `embedding` (hidden,) is what the first layer is given; `heads` (layers, heads, hidden); `attention_biases`
    (layers, hidden), what the output projections and norms behind them add whatever the heads say; `mlps`
    (layers, hidden). `norm` is the final norm with its statistics frozen. `raw` (vocabulary,) is what the vocabulary's
    matrix made of it and `logits` what the model made of that (a scaling, a soft cap).
    """

    layers: tuple[int, ...]
    embedding: torch.Tensor
    heads: torch.Tensor
    attention_biases: torch.Tensor
    mlps: torch.Tensor
    norm: FrozenNorm
    raw: torch.Tensor
    logits: torch.Tensor


@dataclass
class _Seen:
    """The last position of what a module was given and returned, (size,) each, in the order in which modules ended."""

    given: dict[str, torch.Tensor] = field(default_factory=dict)
    output: dict[str, torch.Tensor] = field(default_factory=dict)
    heads_out: dict[int, torch.Tensor] = field(default_factory=dict)  # by layer, before any scale


@torch.no_grad()
def read_parts(model: LoadedModel, ids: Sequence[int], cache: Cache) -> Parts:
    """Run `ids` behind the cache (which takes them in) and take the last position apart.

    With an adapter attached the parts are those of the adapted model. UsageError where the layers do more than add
    attention and MLP to a stream, or something other than a norm stands between it and the vocabulary.
    """
    last = torch.tensor([len(ids) - 1], device=model.device)
    with _watched(model) as seen:
        output = model.run(torch.tensor([list(ids)], device=model.device), cache, logits_to_keep=last)
    names = _layer_names(model)
    layers = [_layer_parts(model, own, name, seen) for own, name in zip(model.projections, names, strict=True)]
    heads, biases, mlps = zip(*layers, strict=True)
    stream = seen.output[names[-1]]
    head = _name_of(model, model.model.get_output_embeddings())
    norm = _final_norm(model, seen, stream, seen.given[head], names)
    return Parts(
        layers=tuple(projection.layer for projection in model.projections),
        embedding=seen.given[names[0]].double().cpu(),
        heads=torch.stack(heads),
        attention_biases=torch.stack(biases),
        mlps=torch.stack(mlps),
        norm=norm,
        raw=seen.output[head].double().cpu(),
        logits=output.logits[0, -1].double().cpu(),
    )


@contextlib.contextmanager
def _watched(model: LoadedModel) -> Iterator[_Seen]:
    """Keep the last position of everything that passes through the model's modules until the context ends."""
    seen = _Seen()

    def keep(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given, returned = _last_row([*args, *kwargs.values()]), _last_row([output])
            seen.output.pop(name, None)  # of a module that ran before the place in the order is that of the last run
            if given is not None and returned is not None:
                seen.given[name], seen.output[name] = given, returned

        return hook

    def keep_heads(layer: int) -> Callable[..., None]:
        def hook(_module: nn.Module, args: tuple[Any, ...]) -> None:
            row = _last_row(args)
            assert row is not None
            seen.heads_out[layer] = row

        return hook

    with contextlib.ExitStack() as hooks:
        for name, module in model.model.named_modules():
            hooks.callback(module.register_forward_hook(keep(name), with_kwargs=True).remove)
        for projection in model.projections:  # first of the module's hooks: an adapter's scales come after it
            module = model.model.get_submodule(projection.name)
            hooks.callback(module.register_forward_pre_hook(keep_heads(projection.layer), prepend=True).remove)
        yield seen


def _last_row(values: Sequence[Any]) -> torch.Tensor | None:
    """The last position of the first of the values that is a tensor of numbers (or a tuple that begins with one)."""
    for value in values:
        tensor = value[0] if isinstance(value, tuple) and value else value
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.ndim in (2, 3) and len(tensor):
            return tensor.reshape(-1, tensor.shape[-1])[-1].clone()
    return None


def _layer_names(model: LoadedModel) -> list[str]:
    """The decoder layers' names. UsageError where one has no attention."""
    names = [_name_of(model, layer) for layer in model.decoder_layers]
    held = [sum(projection.name.startswith(f"{name}.") for projection in model.projections) for name in names]
    if set(held) != {1}:
        raise UsageError(
            f"{model.name} has {len(names)} layers, {held.count(1)} of them with attention; direct effects are read "
            "where every layer has one attention and one MLP"
        )
    return names


def _name_of(model: LoadedModel, wanted: nn.Module) -> str:
    return next(name for name, module in model.model.named_modules() if module is wanted)


def _layer_parts(
    model: LoadedModel, projection: OutputProjection, layer: str, seen: _Seen
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What one layer adds: (heads, hidden) by head, (hidden,) as the attention's bias, (hidden,) by the MLP."""
    ran = [name for name in seen.output if name.startswith(f"{layer}.")]
    after = ran[ran.index(projection.name) + 1 :]
    before, behind = seen.given[layer].double(), seen.output[layer].double()
    added = behind - before
    fits = [
        (*_fit(added, attention + other), name, norm)
        for norm, attention in _ways_into_the_stream(model, projection, after, seen)
        for name in after
        if (other := seen.output[name].double()).shape == added.shape
    ]
    allowed = rounding(model.model.dtype)
    error, factor, name, norm = min(fits, key=lambda fit: fit[0], default=(math.inf, 1.0, "", nothing(1)))
    if not error <= allowed * float(before.norm() + behind.norm()):
        raise UsageError(
            f"layer {projection.layer} of {model.name} does more than add its attention and its MLP to its input, so "
            "what a head adds to the logits can't be told; direct effects are not offered for this model"
        )
    factor = 1.0 if abs(factor - 1.0) <= allowed else factor
    heads, bias = _split_by_head(model, projection, seen.heads_out[projection.layer])
    bias = norm.of_parts(bias) + norm.bias
    mlp = seen.output[name].double().cpu()
    return factor * norm.of_parts(heads), factor * bias, factor * mlp


def _fit(added: torch.Tensor, together: torch.Tensor) -> tuple[float, float]:
    """How far `added` is from the best multiple of `together`, and that factor."""
    factor = float(added @ together / (together @ together))
    return float((added - factor * together).norm()), factor


def _ways_into_the_stream(
    model: LoadedModel, projection: OutputProjection, after: Sequence[str], seen: _Seen
) -> list[tuple[FrozenNorm, torch.Tensor]]:
    """What the projection's output may be when it reaches the stream: as it is, or after a norm that reads it."""
    output = seen.output[projection.name]
    ways = [(nothing(len(output)), output.double())]
    for name in after:
        if seen.given[name].shape == output.shape and torch.equal(seen.given[name], output):
            norm = FrozenNorm.read(model.model.get_submodule(name), output, seen.output[name])
            if norm is not None and not torch.equal(seen.output[name], output):  # unlike a dropout, which does nothing
                ways.append((norm, seen.output[name].double()))
    return ways


def _split_by_head(
    model: LoadedModel, projection: OutputProjection, heads_out: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The projection's output as (heads, hidden) and its bias (hidden,).

    The module itself is asked, once for each head with the others silent and once for silence: so packed weights,
    low-rank adapters and scales, which are hooks of the module, are as they are at work.
    """
    rows = heads_out.new_zeros(projection.heads + 1, projection.heads, projection.head_size)
    every = torch.arange(projection.heads, device=rows.device)
    rows[every, every] = heads_out.view(projection.heads, projection.head_size)
    output = model.model.get_submodule(projection.name)(rows.flatten(1)[None])[0].double().cpu()
    bias = output[-1]
    return output[:-1] - bias, bias


def _final_norm(
    model: LoadedModel, seen: _Seen, stream: torch.Tensor, read: torch.Tensor, layers: Sequence[str]
) -> FrozenNorm:
    """The norm between the last layer's output and what the vocabulary's matrix reads. UsageError for another thing."""
    if torch.equal(stream, read):
        return nothing(len(stream))
    outside = [name for name in seen.output if not name.startswith(tuple(f"{layer}." for layer in layers))]
    for name in outside:
        given, output = seen.given[name], seen.output[name]
        if given.shape == stream.shape and torch.equal(given, stream) and torch.equal(output, read):
            norm = FrozenNorm.read(model.model.get_submodule(name), given, output)
            if norm is not None:
                return norm
    raise UsageError(
        f"{model.name} has something other than a norm between its last layer and its vocabulary, so what a head adds "
        "to the logits can't be told; direct effects are not offered for this model"
    )
