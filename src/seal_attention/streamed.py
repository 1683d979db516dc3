# SPDX-License-Identifier: Apache-2.0
"""Queries, and stretches of keys and values -> attention outputs in bfloat16, a tile of keys at a time, on a CPU.

A block of scores that is written, read by a softmax and read again costs as much in memory as both its products. Here
no score leaves the product that made it: oneDNN adds a bias and applies a sigmoid to the sums it holds in float32, and
where x is far below zero sigmoid(x) is exp(x). So what is written are the weights but for a factor, which their sum
takes out again, and no score is rounded to bfloat16 on the way. In the backward pass the sums are known; there the
gradients of the scores come out of a product too, which the weights are multiplied onto.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

# Scores stand so far below zero, the largest of them nearly: in the middle of what float32 holds beneath a sigmoid.
OFFSET = 36.0
# What a row's weights may add up to: more, and sigmoid is no exp (at e^-12 it misses by 6e-6, where bfloat16 rounds by
# 2e-3); less, and weights that matter could be below e^-87, float32's least.
LEAST, MOST = 2.0**-95, 2.0**-17
SAMPLE = 128  # keys of each stretch that are looked at first, for about the largest score
HALVINGS = 29  # of weights in the backward pass, made good in what they are multiplied with: sigmoid is exp there
TILE_WEIGHTS = 2**19  # of a tile, for each thread: 1 MB, a core's own cache
TILE_STEP = 256  # keys by which tiles grow: every width is a kernel of its own


@dataclass(frozen=True)
class Stretch:
    """`keys` (keys, size) and `values` (keys, value_size) of consecutive slots, and `queries` (rows, size) as these
    keys see them, the scale in them. `seen` (keys, queries), in bfloat16, is 0 where a key is hidden from a query and
    else 1, where the rows are the queries of each head, one head after the other; None where all are seen.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    seen: torch.Tensor | None = None

    def tiles(self) -> Iterator[slice]:
        """As many keys at a time as TILE_WEIGHTS allows."""
        most = TILE_WEIGHTS * torch.get_num_threads() // len(self.queries)
        size = max(TILE_STEP, most // TILE_STEP * TILE_STEP)
        for start in range(0, len(self.keys), size):
            yield slice(start, min(start + size, len(self.keys)))

    def weights(self, tile: slice, bias: torch.Tensor) -> torch.Tensor:
        """exp(score + bias) where that is far below 1, 0 where a key is hidden; (keys of the tile, rows)."""
        weights: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            self.keys[tile], self.queries, bias, "sigmoid", [], ""
        )
        if self.seen is not None:
            weights.unflatten(1, (-1, self.seen.shape[1])).mul_(self.seen[tile, None])
        return weights

    def largest(self, slots: slice, hidden: bool) -> torch.Tensor:
        """Of each row the largest score of some keys, the hidden ones among them or not; (rows,)."""
        scores = torch.mm(self.queries, self.keys[slots].t())
        if self.seen is not None and not hidden:
            scores.unflatten(0, (-1, self.seen.shape[1])).masked_fill_(self.seen[slots].t() == 0, -torch.inf)
        return scores.amax(1)


@dataclass(frozen=True)
class Gradients:
    """What a stretch's gradients are added to, in float32: `queries` (size, rows), `keys` and `values` like its own."""

    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor


def streams(query: torch.Tensor) -> bool:
    """Whether the tensor's device and type are what this is for: bfloat16 on a CPU that multiplies it."""
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and _products_work()


@functools.cache
def _products_work() -> bool:
    """Whether oneDNN multiplies bfloat16 here, and PyTorch hands its sigmoid and its product through: a trial.

    PyTorch makes both for torch.compile, under names of its own, and not on every CPU.
    """
    try:
        if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            return False
        one = torch.ones(1, 1, dtype=torch.bfloat16)
        weight = Stretch(one, one, one).weights(slice(1), torch.tensor([-OFFSET]))
        twice = _times(one, 2 * one, one, one[0])
    except (AttributeError, RuntimeError):
        return False
    return math.isclose(float(weight), math.exp(1 - OFFSET), rel_tol=0.01) and float(twice) == 4


def _times(left: torch.Tensor, factor: torch.Tensor, right: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(left @ right^T + bias) * factor, rounded once."""
    return torch.ops.mkldnn._linear_pointwise.binary(left, factor, right, bias, "mul")


def stream(stretches: Sequence[Stretch]) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(queries @ keys^T) @ values over all stretches together, (rows, value_size), and the logarithm of each
    row's sum of exponentials, (rows,), float32. A row that sees no key gives zeros.
    """
    firsts = [stretch.largest(slice(SAMPLE), hidden=True) for stretch in stretches]
    bias = -OFFSET - torch.stack(firsts).amax(0).float()
    mixed, sums = _mix(stretches, bias)
    least, most = torch.aminmax(sums)
    if not (least > LEAST and most < MOST):  # some row's largest score is far from those looked at: look at all
        every = [stretch.largest(tile, hidden=False) for stretch in stretches for tile in stretch.tiles()]
        largest = torch.stack(every).amax(0).float()
        bias = -OFFSET - largest.where(largest != -torch.inf, 0.0)
        mixed, sums = _mix(stretches, bias)
        sums = sums.clamp(min=LEAST)
    return (mixed / sums).t().to(stretches[0].queries.dtype), sums.log() - bias


def _mix(stretches: Sequence[Stretch], bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of weighted values, (value_size, rows), and of weights, (rows,), float32."""
    mixed = torch.zeros(stretches[0].values.shape[1], len(bias))
    sums = torch.zeros(len(bias))
    for stretch in stretches:
        for tile in stretch.tiles():
            weights = stretch.weights(tile, bias)
            mixed.add_(torch.mm(stretch.values[tile].t(), weights))
            sums.add_(weights.sum(0))
    return mixed, sums


def send_back(
    stretches: Sequence[tuple[Stretch, Gradients]], gradient: torch.Tensor, mixed: torch.Tensor, log_sums: torch.Tensor
) -> None:
    """From the gradient of what `stream` gave, (rows, value_size), and that itself, to the gradients of its stretches.

    Those of queries are of the queries as they are given, the scale in them.
    """
    factor = 2.0**HALVINGS
    bias = -HALVINGS * math.log(2) - log_sums
    outer = gradient * factor
    shared = ((gradient.float() * mixed.float()).sum(1) * -factor).to(outer.dtype)
    for stretch, gradients in stretches:
        for tile in stretch.tiles():
            keys, weights = stretch.keys[tile], stretch.weights(tile, bias)
            gradients.values[tile].add_(torch.mm(weights, outer))
            scores = _times(stretch.values[tile], weights, outer, shared)
            gradients.keys[tile].add_(torch.mm(scores, stretch.queries))
            gradients.queries.add_(torch.mm(keys.t(), scores))
