# SPDX-License-Identifier: Apache-2.0
"""Two measures of the same heads -> how far they put the heads in the same order."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]


def ranks(values: ArrayLike) -> Numbers:
    """(..., n) -> the rank of each along the last dimension, 1 the smallest; equal values share their mean."""
    given: NDArray[Any] = np.asarray(values)
    rows = given.reshape(-1, given.shape[-1])
    found = [_row_ranks(row) for row in rows]
    return np.stack(found).reshape(given.shape)


def spearman(first: ArrayLike, second: ArrayLike) -> Numbers:
    """Spearman's rank correlation along the last dimension: (..., n) and (..., n) -> (...).

    NaN where all values of one side are equal: they are in no order.
    """
    a, b = (ranks(values) for values in (first, second))
    a, b = (held - (held.shape[-1] + 1) / 2 for held in (a, b))
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(-1) / np.sqrt(np.square(a).sum(-1) * np.square(b).sum(-1)))


def _row_ranks(row: NDArray[Any]) -> Numbers:
    ordered = np.sort(row)
    below, upto = np.searchsorted(ordered, row, "left"), np.searchsorted(ordered, row, "right")
    return (below + upto + 1) / 2
