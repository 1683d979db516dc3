# SPDX-License-Identifier: Apache-2.0
"""JSON -> a number for every attention head, checked: a learnt scale, or what a probe measured of the head."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Rows = tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class HeadMap:
    """A number for every head: `values[i]` are the heads of `layers[i]`, None where there is none.

    `name` says which quantity it is, the same for maps that may be compared square by square; `neutral` is its value
    for a head that makes no difference. `noun` stands before a value that is read out, `unit` behind it; `low` and
    `high` are the ends of each value's interval, where it has one.
    """

    layers: tuple[int, ...]
    values: Rows
    name: str = "scale"
    title: str = ""
    neutral: float = 1.0
    noun: str = ""
    unit: str = ""
    cell: Mapping[str, int] = field(default_factory=dict)
    low: Rows = ()
    high: Rows = ()

    @property
    def heads(self) -> int:
        """How many heads the widest layer has."""
        return max(len(row) for row in self.values)

    @property
    def signed(self) -> bool:
        """Whether values are changes, up or down, and are told with their sign."""
        return self.neutral == 0 and any(value < 0 for value, _, _ in self.measured)

    @property
    def measured(self) -> list[tuple[float, int, int]]:
        """Every head that has a value, as (value, layer, head)."""
        return [
            (value, layer, head)
            for layer, row in zip(self.layers, self.values, strict=True)
            for head, value in enumerate(row)
            if value is not None
        ]


def span_of(maps: Sequence[HeadMap]) -> float:
    """The farthest that any value is from its map's neutral one, never 0: what the colours of these maps must reach."""
    return max([0.0, *(abs(value - held.neutral) for held in maps for value, _, _ in held.measured)]) or 0.01


def head_map(layers: Any, values: Any, **facts: Any) -> HeadMap:
    """Lists as JSON has them -> a map; ValueError or TypeError where they are no layers with a number a head."""
    found = HeadMap(tuple(int(layer) for layer in layers), rows(values), **facts)
    if len(found.layers) != len(found.values):
        raise ValueError(f"names {len(found.layers)} layers but scales of {len(found.values)}")
    if not found.values or not all(found.values):
        raise ValueError("names a layer without heads")
    if any(
        [len(row) for row in ends] != [len(row) for row in found.values] for ends in (found.low, found.high) if ends
    ):
        raise ValueError("names intervals of other heads than values")
    return found


def rows(values: Any) -> Rows:
    """`number` of each head of each layer."""
    return tuple(tuple(number(value) for value in row) for row in values)


def number(value: Any) -> float | None:
    """A number that is one; None for null and for what no figure can show."""
    return None if value is None or not math.isfinite(float(value)) else float(value)


def numbers(values: Any) -> Iterator[float | None]:
    """`number` of each."""
    return (number(value) for value in values)
