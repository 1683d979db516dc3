# SPDX-License-Identifier: Apache-2.0
"""Rows of ids, each after its prefix -> one batch that takes them a token further at each step.

The rows of a prefix share a line of the batch: a step takes one new token of every row, and a mask says which slots of
the line's cache each row sees. So a step reads the weights once for all rows, and the keys and values of a prefix once
for all rows of a line.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from .models import LoadedModel
from .roomy_cache import stacked, write_behind
from .shared_prefix import PrefixCache

FULL_ENOUGH = 0.75  # of the lines: below that share still going on, those that have ended go, a copy of what is kept


@dataclass(frozen=True)
class Row:
    """`ids` (never empty) stand after the prefix and what is `held` of this row; at most `room` ids are to follow.

    `held` are keys and values as in `PrefixCache.tensors`; rows of a model that does not pack questions have none.
    """

    prefix: PrefixCache
    ids: tuple[int, ...]
    room: int
    held: tuple[torch.Tensor, ...] = ()

    @property
    def held_length(self) -> int:
        """Tokens between the prefix and `ids`."""
        return self.held[0].shape[2] if self.held else 0

    @property
    def longest(self) -> int:
        """Slots of its own that the row may come to take."""
        return self.held_length + len(self.ids) + self.room

    @property
    def held_bytes(self) -> int:
        """Bytes of what is held."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.held)


def in_lines(rows: Sequence[Row]) -> list[list[int]]:
    """Indices of the rows that share a line: rows of one prefix, but no more than have as many slots as the prefix.

    Each row of a line computes scores on the slots of all: a few copies of a short prefix are cheaper.
    """
    own = max(row.longest - row.room // 2 for row in rows)
    lines: list[list[int]] = []
    newest: dict[int, list[int]] = {}  # by prefix, the line that still takes rows
    for number, row in enumerate(rows):
        line = newest.get(id(row.prefix))
        if line is None or (len(line) + 1) * own > row.prefix.length:
            line = newest[id(row.prefix)] = []
            lines.append(line)
        line.append(number)
    return lines


class Lines:
    """Rows of any lengths after any prefixes: those of a line one behind the other.

    `grid` is (lines, most rows of a line): which row stands where, -1 where a line has fewer. A line's cache holds its
    prefix (up to the longest of all, the rest never seen), then a stripe of equal width for what each row holds, then
    one for its ids, then one slot a step and place of the grid. `visible` is (lines, places, slots): what each row
    sees. A place without a row sees its own slot alone, so that no softmax is empty. `standing` is (lines, slots): the
    position of what a slot holds, and a likely one for what nobody sees.
    """

    def __init__(self, model: LoadedModel, rows: Sequence[Row]) -> None:
        self.model, self.rows = model, rows
        by_line = in_lines(rows)
        prefixes = [rows[held[0]].prefix for held in by_line]
        places = max(map(len, by_line))
        self.grid = torch.tensor([[*held, *[-1] * (places - len(held))] for held in by_line], device=model.device)
        self.width = max(len(row.ids) for row in rows)
        longest = max(prefix.length for prefix in prefixes)
        held_width = max(row.held_length for row in rows)
        self.used = longest + places * held_width
        room = self.used + places * (self.width + max(row.room for row in rows))
        self.cache = stacked(prefixes, room, self.used)
        self.visible = torch.zeros(*self.grid.shape, room, dtype=torch.bool, device=model.device)
        self.positions = torch.zeros_like(self.grid)  # of the next token of each row
        self.standing = torch.zeros(len(by_line), room, dtype=torch.long, device=model.device)
        for line, held in enumerate(by_line):
            prefix = prefixes[line]
            self.standing[line, : prefix.length] = prefix.slot_positions(model.device)
            after = prefix.position_after(prefix.length)
            self.standing[line, prefix.length : self.used] = self.positions[line] = after
            for place, number in enumerate(held):
                row, start = rows[number], longest + place * held_width
                own = slice(start, start + row.held_length)
                if row.held:
                    write_behind(self.cache, line, start, row.held)
                self.visible[line, place, : row.prefix.length] = self.visible[line, place, own] = True
                self.standing[line, own] = torch.arange(after, after + row.held_length, device=model.device)
                self.positions[line, place] += row.held_length + len(row.ids)

    def begin(self) -> list[int]:
        """Each row's first new token; its ids end where its stripe ends."""
        lines, places = self.grid.shape
        device, width = self.model.device, self.width
        ids = torch.zeros(lines, places, width, dtype=torch.long, device=device)
        lengths = torch.zeros(lines, places, dtype=torch.long, device=device)
        for line, place in (self.grid >= 0).nonzero().tolist():
            own = self.rows[int(self.grid[line, place])].ids
            ids[line, place, width - len(own) :] = torch.tensor(own, device=device)
            lengths[line, place] = len(own)
        column = torch.arange(width, device=device)
        written = column >= width - lengths[..., None]  # (lines, places, width)
        positions = (self.positions[..., None] - width + column).clamp(min=0)
        total = places * width
        mask = torch.zeros(lines, places, width, self.used + total, dtype=torch.bool, device=device)
        mask[..., : self.used] = self.visible[:, :, None, : self.used]
        stripes = mask[..., self.used :].view(lines, places, width, places, width)
        causal = column[:, None] >= column[None, :]
        for place in range(places):
            stripes[:, place, :, place] = causal & (written[:, place, None, :] | (column[:, None] == column[None, :]))
            self.visible[:, place, self.used + place * width : self.used + (place + 1) * width] = written[:, place]
        self.used += total
        last = torch.arange(1, places + 1, device=device) * width - 1
        guesses = self._next(ids.view(lines, total), positions.view(lines, total), mask.flatten(1, 2), last)
        return self._of_rows(guesses, range(len(self.rows)))

    def step(self, newest: Sequence[tuple[int, int]]) -> list[int]:
        """(row, its newest token) of the rows that go on -> each one's next token."""
        going = dict(newest)
        self._let_go(going)
        places = self.grid.shape[1]
        tokens = torch.tensor([[going.get(row, 0) for row in held] for held in self.grid.tolist()])
        own = torch.eye(places, dtype=torch.bool, device=self.model.device)
        self.visible[:, :, self.used : self.used + places] = own
        self.used += places
        mask = self.visible[:, :, : self.used]
        every = torch.arange(places, device=self.model.device)
        guesses = self._next(tokens.to(self.model.device), self.positions, mask, every)
        self.positions = self.positions + (self.grid >= 0)
        return self._of_rows(guesses, going)

    def _let_go(self, rows: Collection[int]) -> None:
        """Let go of places without a row that goes on, for free, and of lines without one where many have ended."""
        held = [[place for place, row in enumerate(line) if row in rows] for line in self.grid.tolist()]
        lines = [line for line, places in enumerate(held) if places]
        if len(lines) > FULL_ENOUGH * len(held):
            lines = list(range(len(held)))
        else:
            self.cache.batch_select_indices(torch.tensor(lines, device=self.model.device))
        most = max(map(len, held))
        if (len(lines), most) == tuple(self.grid.shape):
            return
        # A line with fewer rows repeats one as a place without a row.
        chosen = torch.tensor([[*held[line], *(held[line] or [0])[:1] * (most - len(held[line]))] for line in lines])
        empty = torch.tensor([[place >= len(held[line]) for place in range(most)] for line in lines])
        chosen, empty = chosen.to(self.model.device), empty.to(self.model.device)
        kept = torch.tensor(lines, device=self.model.device)
        self.grid = self.grid[kept].gather(1, chosen).masked_fill(empty, -1)
        self.positions = self.positions[kept].gather(1, chosen)
        self.standing = self.standing[kept]
        self.visible = self.visible[kept].gather(1, chosen[..., None].expand(-1, -1, self.visible.shape[-1]))

    def _next(
        self, ids: torch.Tensor, positions: torch.Tensor, visible: torch.Tensor, asked: torch.Tensor
    ) -> torch.Tensor:
        """The likeliest next token at the `asked` columns, (lines, asked)."""
        dtype = self.model.model.dtype
        mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
        mask.masked_fill_(~visible, torch.finfo(dtype).min)
        held, end = visible.shape[-1] - positions.shape[1], visible.shape[-1]
        self.standing[:, held:end] = positions
        output = self.model.run(
            ids,
            self.cache,
            self.standing[:, :held],
            position_ids=positions,
            attention_mask=mask[:, None],
            logits_to_keep=asked,
        )
        return output.logits.argmax(-1)

    def _of_rows(self, guesses: torch.Tensor, rows: Collection[int]) -> list[int]:
        """Values on the grid -> those of the rows, in their order."""
        pairs = zip(self.grid.flatten().tolist(), guesses.flatten().tolist(), strict=True)
        found = {row: value for row, value in pairs if row >= 0}
        return [found[row] for row in rows]
