# SPDX-License-Identifier: Apache-2.0
"""Two measures of the same heads -> how far they put the heads in the same order."""

from __future__ import annotations

import torch


def ranks(values: torch.Tensor) -> torch.Tensor:
    """(..., n) -> the rank of each along the last dimension, 1 the smallest, float64; equal values share their mean."""
    ordered = values.sort(-1).values.contiguous()
    below, upto = (torch.searchsorted(ordered, values.contiguous(), right=right) for right in (False, True))
    return (below + upto + 1).double() / 2


def spearman(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Spearman's rank correlation along the last dimension: (..., n) and (..., n) -> (...), float64.

    NaN where all values of one side are equal: they are in no order.
    """
    a, b = (ranks(values) - (values.shape[-1] + 1) / 2 for values in (first, second))
    return (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()
