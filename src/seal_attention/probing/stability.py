# SPDX-License-Identifier: Apache-2.0
"""The change of each question from silencing each head -> how sure a head's effect is, and the order of the heads.

Everything is drawn from one seed, so that the same records give the same digits. Intervals are of 95 %.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from .ranks import spearman

DRAWS = 1000
HALVINGS = 200
ENDS = torch.tensor([0.025, 0.975], dtype=torch.float64)


def bootstrapped(changes: torch.Tensor, draws: int = DRAWS, seed: int = 0) -> torch.Tensor:
    """Mean changes of questions drawn with replacement: (questions, heads) -> (draws, heads).

    Whole questions are drawn, so that what their heads have in common stays in common.
    """
    questions = len(changes)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(questions, (draws, questions), generator=generator)
    weights = torch.zeros(draws, questions, dtype=changes.dtype)
    weights.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=changes.dtype))
    return weights @ changes / questions


def interval(changes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The bootstrap's percentile interval (low, high) of each head's mean change: (questions, heads) -> (heads,)."""
    low, high = bootstrapped(changes).quantile(ENDS, dim=0)
    return low, high


def agreement(first: torch.Tensor, second: torch.Tensor) -> dict[str, Any]:
    """How far two cells put the heads in the same order; each (questions, heads), of other questions.

    `spearman` is that of the mean changes, `low` and `high` the interval over questions drawn anew in both cells (noise
    only ever mixes ranks, so it lies lower than an interval of the true correlation would), `shuffled_low` and
    `shuffled_high` the interval where the second cell's heads are shuffled: what random heads give.
    """
    a, b = first.mean(0), second.mean(0)
    again = torch.from_numpy(spearman(bootstrapped(first, seed=1), bootstrapped(second, seed=2)))
    shuffled = torch.from_numpy(spearman(a.expand(DRAWS, -1), _shuffled(b.expand(DRAWS, -1))))
    return {"spearman": _number(torch.from_numpy(spearman(a, b))), **_ends(again), **_ends(shuffled, "shuffled_")}


def halves(changes: torch.Tensor) -> dict[str, Any]:
    """How far one cell's questions agree among themselves: the mean rank correlation of random halves of them.

    `low` and `high` span the halvings; `shuffled_*` is the control, one half's heads shuffled.
    """
    questions = len(changes)
    cut = questions // 2
    if not cut:
        return dict.fromkeys(("spearman", "low", "high", "shuffled_low", "shuffled_high"))
    generator = torch.Generator().manual_seed(3)
    places = torch.rand(HALVINGS, questions, generator=generator).argsort(1)
    first = (places < cut).to(changes.dtype)  # (halvings, questions)
    one, other = first @ changes / cut, (1 - first) @ changes / (questions - cut)
    found, shuffled = (torch.from_numpy(spearman(one, half)) for half in (other, _shuffled(other)))
    return {"spearman": _number(found.nanmean()), **_ends(found), **_ends(shuffled, "shuffled_")}


def _shuffled(values: torch.Tensor) -> torch.Tensor:
    """Each row in an order of its own."""
    generator = torch.Generator().manual_seed(4)
    return values.gather(1, torch.rand(values.shape, generator=generator).argsort(1))


def _ends(values: torch.Tensor, prefix: str = "") -> dict[str, float | None]:
    low, high = values.nanquantile(ENDS)
    return {f"{prefix}low": _number(low), f"{prefix}high": _number(high)}


def _number(value: torch.Tensor) -> float | None:
    """Four digits, None where heads were in no order (all changes equal)."""
    number = float(value)
    return round(number, 4) if math.isfinite(number) else None
