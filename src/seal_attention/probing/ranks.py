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
    order = given.argsort(-1, kind="stable")
    ordered = np.take_along_axis(given, order, -1)
    new = np.diff(ordered, axis=-1) != 0  # whether the next value begins a run of equal ones
    place = np.arange(given.shape[-1])
    edge = np.ones((*given.shape[:-1], 1), dtype=bool)
    first = np.maximum.accumulate(np.where(np.concatenate([edge, new], -1), place, 0), -1)
    last = np.where(np.concatenate([new, edge], -1), place, place[-1])
    last = np.minimum.accumulate(last[..., ::-1], -1)[..., ::-1]
    found = np.empty(given.shape)
    np.put_along_axis(found, order, (first + last) / 2 + 1, -1)
    return found


def spearman(first: ArrayLike, second: ArrayLike) -> Numbers:
    """Spearman's rank correlation along the last dimension: (..., n) and (..., n) -> (...).

    NaN where all values of one side are equal: they are in no order.
    """
    a, b = (ranks(values) for values in (first, second))
    a, b = (held - (held.shape[-1] + 1) / 2 for held in (a, b))
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(-1) / np.sqrt(np.square(a).sum(-1) * np.square(b).sum(-1)))
