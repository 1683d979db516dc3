# SPDX-License-Identifier: Apache-2.0
"""A prediction's cell -> its size, in tokens or lines or whatever else the task counts, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..samples import tokens_name
from .wording import SPACE, count

TOKENS, DEPTH = "length", "depth"  # the keys of a cell that every task may have


@dataclass(frozen=True, order=True)
class Size:
    """How large the contexts of a cell are: `amount` of `unit` (`length`: tokens); no unit where they come from data.

    Sizes of different units are never compared: a panel holds one unit.
    """

    unit: str = ""
    amount: int = 0

    @property
    def name(self) -> str:
        """`20 lines`, `4k tokens`; all questions of a task without sizes."""
        if not self.unit:
            return "all questions"
        if self.unit == TOKENS:
            return f"{self.short}{SPACE}token{'' if self.amount == 1 else 's'}"
        return count(self.amount, unit_noun(self.unit).removesuffix("s"))

    @property
    def short(self) -> str:
        """The size where a heading says the unit: `20`, `4k`."""
        return tokens_name(self.amount) if self.unit == TOKENS else f"{self.amount:,}"


def size_of(cell: Mapping[str, int]) -> Size:
    """The size that a cell names."""
    units = [key for key in cell if key != DEPTH]
    unit = TOKENS if TOKENS in cell else next(iter(units), "")
    return Size(unit, cell[unit]) if unit else Size()


def unit_noun(unit: str) -> str:
    """A unit in the plural: `tokens`, `noise lines`."""
    return "tokens" if unit == TOKENS else unit.replace("_", " ")


def unit_words(unit: str) -> str:
    """A unit as an axis or a heading says it."""
    return "tokens, prompt and answer together" if unit == TOKENS else f"{unit_noun(unit)} in the prompt"
