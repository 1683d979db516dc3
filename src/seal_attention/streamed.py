# SPDX-License-Identifier: Apache-2.0
"""Queries, and stretches of keys and values -> attention outputs in bfloat16, a tile of keys at a time, on a CPU.

A block of scores that is written, read by a softmax and read again costs as much in memory as both its products. Here
no score leaves the product that made it: oneDNN adds a bias and applies a sigmoid to the sums it holds in float32, and
where x is far below zero sigmoid(x) is exp(x). So what is written are the weights but for a factor, which their sum (a
row of ones under the values, in the second product) takes out again. No score is rounded to bfloat16 on the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

# Scores stand so far below zero, the largest of them nearly: in the middle of what float32 holds beneath a sigmoid.
OFFSET = 36.0
# What a row's weights may add up to: more, and sigmoid is no exp (at e^-12 it misses by 6e-6, where bfloat16 rounds by
# 2e-3); less, and weights that matter could be below e^-87, float32's least.
LEAST, MOST = 2.0**-95, 2.0**-17
STREAMED_ROWS = 384  # of a block at least: fewer, and more is read than computed
SAMPLE = 128  # keys of each stretch that are looked at first, for about the largest score
TILE_WEIGHTS = 2**19  # of a tile, for each thread: 1 MB, a core's own cache
TILE_STEP = 256  # keys by which tiles grow: every width is a kernel of its own


@dataclass(frozen=True)
class Stretch:
    """`keys` of consecutive slots, (keys, size), and their `values`, (value_size + 1, keys), as `summed_values` makes
    them; `queries` (rows, size) as these keys see them, the scale in them. `seen` (queries, keys) hides keys from
    queries, where the rows are the queries of each head one after the other; None where all are seen.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    seen: torch.Tensor | None = None


def streams(query: torch.Tensor) -> bool:
    """Whether the tensor's device and type are what this is for: bfloat16 on a CPU that multiplies it."""
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and _MULTIPLIES


_MULTIPLIES = (
    torch.backends.mkldnn.is_available()
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
)


def summed_values(values: torch.Tensor) -> torch.Tensor:
    """(..., keys, value_size) -> (..., value_size + 1, keys), the last row of ones."""
    wide = values.new_empty(*values.shape[:-2], values.shape[-1] + 1, values.shape[-2])
    wide[..., :-1, :].copy_(values.transpose(-1, -2))
    wide[..., -1, :] = 1
    return wide


def stream(stretches: Iterable[Stretch]) -> torch.Tensor | None:
    """softmax(queries @ keys^T) @ values over all stretches together: (rows, value_size).

    None where a row's scores lie too far from those looked at first, or are not finite: then a softmax that subtracts
    the largest must do it.
    """
    stretches = list(stretches)
    offset = _about_largest(stretches).add_(OFFSET).neg_()
    total: torch.Tensor | None = None
    for queries, keys, values, seen in _tiles(stretches):
        weights = torch.ops.mkldnn._linear_pointwise(keys, queries, offset, "sigmoid", [], "")  # (keys, rows)
        if seen is not None:
            weights.unflatten(1, (-1, len(seen))).mul_(seen.t().unsqueeze(1))
        mixed = torch.mm(values, weights)
        total = mixed.float() if total is None else total.add_(mixed)
    assert total is not None
    least, most = torch.aminmax(total[-1])
    if not (least > LEAST and most < MOST):
        return None
    return (total[:-1] / total[-1]).t().to(stretches[0].queries.dtype)


def _about_largest(stretches: Sequence[Stretch]) -> torch.Tensor:
    """For each row the largest score among each stretch's first keys, hidden or not; (rows,)."""
    firsts = [torch.mm(stretch.queries, stretch.keys[:SAMPLE].t()).amax(1) for stretch in stretches]
    return torch.stack(firsts).amax(0).float()


def _tiles(
    stretches: Sequence[Stretch],
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]]:
    """Queries, keys, values and what is seen, of as many keys at a time as TILE_WEIGHTS allows."""
    for stretch in stretches:
        most = TILE_WEIGHTS * torch.get_num_threads() // len(stretch.queries)
        size = max(TILE_STEP, most // TILE_STEP * TILE_STEP)
        for start in range(0, len(stretch.keys), size):
            tile = slice(start, start + size)
            seen = None if stretch.seen is None else stretch.seen[:, tile]
            yield stretch.queries, stretch.keys[tile], stretch.values[:, tile], seen
