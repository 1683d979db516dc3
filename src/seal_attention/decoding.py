# SPDX-License-Identifier: Apache-2.0
"""Rows of ids, each after its prefix -> their greedy continuations, rows of many prefixes at a time.

Where masks can be given freely the rows of many prefixes go together (prefix_rows.py, row_lines.py), else those of one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

import torch

from .models import LoadedModel
from .packing import packs
from .prefix_rows import PrefixRows
from .row_lines import FULL_ENOUGH, Lines, Row, in_lines
from .shared_prefix import free_memory

MOST_ROWS = 1024  # of a batch; many, so that few steps are left to the rows that go on longest


def ended(ids: Sequence[int], stops: Collection[int], room: int) -> bool:
    """Whether an answer is complete: a stop was written, or there is no more room."""
    return len(ids) >= room or (bool(ids) and ids[-1] in stops)


@torch.no_grad()
def continue_greedily(
    model: LoadedModel, rows: Sequence[Row], stops: Collection[int], on_step: Callable[[int], None]
) -> list[list[int]]:
    """The ids that follow each row, up to a stop (included) or its room; each step tells how many rows are left.

    Where masks can't be given freely, or a layer forgets, only rows of equal length after one prefix go together.
    """
    written: dict[int, list[int]] = {}
    apart = PrefixRows.fit(model, rows)
    for numbers in _together(model, rows, apart):
        group = [rows[number] for number in numbers]
        packed = packs(model, group[0].prefix.forgets)
        batch = PrefixRows(model, group) if apart else Lines(model, group) if packed else _Batch(model, group)
        waiting = len(rows) - len(written) - len(group)
        found: list[list[int]] = [[] for _ in group]
        for alive in _write(batch, group, stops, found):
            on_step(waiting + alive)
        written.update(zip(numbers, found, strict=True))
    return [written[number] for number in range(len(rows))]


def _together(model: LoadedModel, rows: Sequence[Row], apart: bool) -> Iterator[list[int]]:
    """Indices of rows that can be continued in one batch and whose copies of the prefixes fit into memory.

    Rows in lines after prefixes of much the same length, since a line is as wide as the longest.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for number, row in enumerate(rows):
        packed = packs(model, row.prefix.forgets)
        groups.setdefault(() if packed else (id(row.prefix), len(row.ids)), []).append(number)
    free = free_memory(model.device) // 3
    for key, numbers in groups.items():
        batch: list[int] = []
        for number in sorted(numbers, key=lambda number: rows[number].prefix.length):
            trial = [rows[place] for place in (*batch, number)]
            much_longer = not apart and trial[-1].prefix.length > 1.5 * trial[0].prefix.length + trial[0].room
            bytes_needed = PrefixRows.bytes(model, trial) if apart else _bytes(trial, packed=not key)
            if batch and (len(trial) > MOST_ROWS or much_longer or bytes_needed > free):
                yield batch
                batch = []
            batch.append(number)
        yield batch


def _bytes(rows: Sequence[Row], packed: bool) -> int:
    """Bytes of the keys and values that continuing the rows takes."""
    lines = in_lines(rows) if packed else [[number] for number in range(len(rows))]
    own = max(map(len, lines)) * max(row.longest for row in rows)
    slots = max(row.prefix.length for row in rows) + own
    return len(lines) * slots * rows[0].prefix.bytes_per_token


def _write(
    batch: PrefixRows | Lines | _Batch, rows: Sequence[Row], stops: Collection[int], written: Sequence[list[int]]
) -> Iterator[int]:
    """Append to each row's list until all have ended; after each step, how many have not."""
    alive = list(range(len(rows)))
    tokens = batch.begin()
    while alive:
        for row, token in zip(alive, tokens, strict=True):
            written[row].append(token)
        alive = [row for row in alive if not ended(written[row], stops, rows[row].room)]
        yield len(alive)
        if alive:
            tokens = batch.step([(row, written[row][-1]) for row in alive])


class _Batch:
    """Rows of equal length after one prefix: a line a row, with the library's own masks."""

    def __init__(self, model: LoadedModel, rows: Sequence[Row]) -> None:
        self.model, self.rows = model, rows
        self.cache = rows[0].prefix.rows(len(rows))
        self.held = list(range(len(rows)))  # which row each line is

    def begin(self) -> list[int]:
        """Each row's first new token."""
        return self._next([list(row.ids) for row in self.rows])

    def step(self, newest: Sequence[tuple[int, int]]) -> list[int]:
        """(row, its newest token) of the rows that go on -> each one's next token."""
        going = dict(newest)
        if len(going) <= FULL_ENOUGH * len(self.held):
            lines = [line for line, row in enumerate(self.held) if row in going]
            self.cache.batch_select_indices(torch.tensor(lines, device=self.model.device))
            self.held = [self.held[line] for line in lines]
        tokens = dict(zip(self.held, self._next([[going.get(row, 0)] for row in self.held]), strict=True))
        return [tokens[row] for row, _ in newest]

    def _next(self, ids: Sequence[Sequence[int]]) -> list[int]:
        given = torch.tensor(ids, device=self.model.device)
        output = self.model.run(given, self.cache, logits_to_keep=1)
        return output.logits[:, -1].argmax(-1).tolist()
