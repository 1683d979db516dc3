# SPDX-License-Identifier: Apache-2.0
"""Rows of one token, each after a prefix and keys of its own -> a token more of each row at every step, on a CPU.

The rows stand in one line, those of a prefix beside each other, so that linears compute no place without a row. A
prefix's keys are read where they lie, once for all of its rows, and a row's own by that row alone. Past a model's
window extension/far_rows.py says which of them are read in which way. The loop over prefixes is what a GPU would wait
for: there, and for whatever else takes a mask, row_lines.py does it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch.nn import functional
from transformers.cache_utils import DynamicLayer

from .blockwise import product
from .models import LoadedModel
from .row_keys import NearKeys
from .row_lines import Row

FULL_ENOUGH = 0.85  # of the rows: below that share still going on, those that have ended go, a copy of the others' own
SLOTS = 32  # by which the room of rows grows: it is read whole, so that its matrices lie in one stretch


class PrefixRows:
    """`groups` are the numbers of the rows of each prefix; one after the other they are the places of the line.

    By place, `counts` are the slots of its own that a row has filled, `positions` where its next token stands;
    `standing` are the positions of each prefix's tokens, (1, slots).
    """

    def __init__(self, model: LoadedModel, rows: Sequence[Row]) -> None:
        self.model = model
        by_prefix: dict[int, list[int]] = {}
        for number, row in enumerate(rows):
            by_prefix.setdefault(id(row.prefix), []).append(number)
        self.groups = list(by_prefix.values())
        placed = [rows[number] for number in self._held()]
        self.first = [row.ids[0] for row in placed]
        self.counts = torch.tensor([row.held_length for row in placed])
        self.positions = self.counts + torch.tensor([row.prefix.position_after(row.prefix.length) for row in placed])
        self.standing = [rows[group[0]].prefix.slot_positions(model.device) for group in self.groups]
        prefixes = [rows[group[0]].prefix.tensors() for group in self.groups]
        own = [row.held for row in placed]
        self.cache = rows[0].prefix.rows(1)
        self.layers: list[RowsLayer] = []
        for index, layer in enumerate(self.cache.layers):
            if layer.keys is not None:
                pair = slice(2 * len(self.layers), 2 * len(self.layers) + 2)
                self.layers.append(RowsLayer(self, [held[pair] for held in prefixes], [held[pair] for held in own]))
                self.cache.layers[index] = self.layers[-1]
        self.written: tuple[RowsLayer, torch.Tensor, torch.Tensor] | None = None  # what attention is to come for
        self.followed = True  # whether it came, for each layer just after it was written and for what was written

    @classmethod
    def fit(cls, model: LoadedModel, rows: Sequence[Row]) -> bool:
        """Whether these rows may go on so: on a CPU, a token and held keys each, and attention that lets itself be led.

        That a trial tells: attention must be this package's and be asked for what its cache was given. It is not where
        a family keeps something else than keys and values, as DeepSeek does, or hands no keywords on.
        """
        if not ((model.reads_blockwise or model.reads_far) and model.device.type == "cpu"):
            return False
        if not rows or not all(row.held and len(row.ids) == 1 for row in rows):
            return False
        trial = cls(model, rows[:1])
        trial.begin()
        return trial.followed

    @staticmethod
    def bytes(model: LoadedModel, rows: Sequence[Row]) -> int:
        """Bytes of what continuing the rows takes: their own keys and values, and a copy of the prefixes' keys.

        Two copies past the window: as near queries see them and as far ones do.
        """
        copies = 2 if model.reads_far else 1
        prefixes = {id(row.prefix): row.prefix for row in rows}.values()
        slots = max(row.held_length for row in rows) + max(row.room for row in rows) + SLOTS
        own = len(rows) * slots * rows[0].prefix.bytes_per_token
        return copies * sum(prefix.bytes // 2 for prefix in prefixes) + own

    def begin(self) -> list[int]:
        """Each row's first new token."""
        tokens = self._next(self.first)
        return [tokens[number] for number in range(len(tokens))]

    def step(self, newest: Sequence[tuple[int, int]]) -> list[int]:
        """(row, its newest token) of the rows that go on -> each one's next token."""
        going = dict(newest)
        if len(going) <= FULL_ENOUGH * len(self.counts):
            self._keep(going)
        tokens = self._next([going.get(number, 0) for number in self._held()])
        return [tokens[number] for number, _ in newest]

    def _held(self) -> list[int]:
        """The number of the row at each place."""
        return [number for group in self.groups for number in group]

    def _keep(self, rows: Collection[int]) -> None:
        """Let the other rows go."""
        places = torch.tensor([place for place, number in enumerate(self._held()) if number in rows])
        left = [[number for number in group if number in rows] for group in self.groups]
        prefixes = [index for index, group in enumerate(left) if group]
        self.groups = [left[index] for index in prefixes]
        self.standing = [self.standing[index] for index in prefixes]
        self.counts, self.positions = self.counts[places], self.positions[places]
        for layer in self.layers:
            layer.keep(places, prefixes)

    def _next(self, tokens: Sequence[int]) -> dict[int, int]:
        """The newest token of each place -> the likeliest next one, by row."""
        output = self.model.run(
            torch.tensor([tokens]),
            self.cache,
            position_ids=self.positions[None],
            attention_mask=torch.zeros(1, 1, 1, 1, dtype=self.model.model.dtype),  # so that nobody makes one
            logits_to_keep=torch.arange(len(tokens)),
            prefix_rows=self,
        )
        self.followed &= self.written is None
        self.counts, self.positions = self.counts + 1, self.positions + 1
        return dict(zip(self._held(), output.logits[0].argmax(-1).tolist(), strict=True))

    def attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float,
        reading: Callable[[RowsLayer, torch.Tensor, float], NearKeys] = NearKeys,
    ) -> torch.Tensor:
        """What the attention function hands on: (1, heads, rows, size) each -> (1, rows, heads, value_size).

        `reading` says how a layer's keys are read: past the window not as they are.
        """
        written, self.written = self.written, None
        if written is None or key is not written[1] or value is not written[2]:
            self.followed = False
            return value.new_zeros(1, query.shape[2], query.shape[1], value.shape[-1])
        layer = written[0]
        unfilled = torch.arange(layer.own_keys.shape[-1]) > self.counts[:, None]
        return layer.attended(reading(layer, query, scale), list(map(len, self.groups)), unfilled)[None]


class RowsLayer(DynamicLayer):
    """A layer's keys and values: of every prefix, and of every row its own.

    `prefixes` are (key_value_heads, size, slots) and (key_value_heads, slots, value_size): keys with their slots side
    by side, as in roomy_cache.py; `own_keys` (rows, key_value_heads, size, slots), `own_values` the other way round.
    """

    def __init__(
        self,
        rows: PrefixRows,
        prefixes: Sequence[Sequence[torch.Tensor]],
        own: Sequence[Sequence[torch.Tensor]],
    ) -> None:
        super().__init__()
        keys, values = prefixes[0]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.rows = rows
        self.prefixes = [(keys[0].transpose(1, 2).contiguous(), values[0]) for keys, values in prefixes]
        self.far_keys: list[torch.Tensor] = []
        heads, size = self.prefixes[0][0].shape[:2]
        room = max(keys.shape[2] for keys, _ in own) // SLOTS * SLOTS + SLOTS
        self.own_keys = keys.new_zeros(len(own), heads, size, room)  # zeros: a masked slot must not hold a NaN
        self.own_values = values.new_zeros(len(own), heads, room, values.shape[-1])
        for place, (held_keys, held_values) in enumerate(own):
            self.own_keys[place, :, :, : held_keys.shape[2]] = held_keys[0].transpose(1, 2)
            self.own_values[place, :, : held_values.shape[2]] = held_values[0]

    def get_seq_length(self) -> int:
        """A number for whoever asks; positions and what is seen are given."""
        return int(self.prefixes[0][0].shape[-1])

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write a slot of every row; what is read is known when attention asks for it."""
        self.rows.followed &= self.rows.written is None
        self.rows.written = self, key_states, value_states
        counts = self.rows.counts
        if int(counts.max()) == self.own_keys.shape[-1]:
            self.own_keys = functional.pad(self.own_keys, (0, SLOTS))
            self.own_values = functional.pad(self.own_values, (0, 0, 0, SLOTS))
        every = torch.arange(len(counts))
        self.own_keys[every, :, :, counts] = key_states[0].transpose(0, 1)
        self.own_values[every, :, counts] = value_states[0].transpose(0, 1)
        return key_states, value_states

    def keep(self, places: torch.Tensor, prefixes: Sequence[int]) -> None:
        """Keep some rows and the prefixes that they follow."""
        self.own_keys, self.own_values = self.own_keys[places], self.own_values[places]
        self.prefixes = [self.prefixes[index] for index in prefixes]
        self.far_keys = [self.far_keys[index] for index in prefixes] if self.far_keys else []

    def attended(self, reading: NearKeys, sizes: Sequence[int], unfilled: torch.Tensor) -> torch.Tensor:
        """How the rows read, each prefix's number of rows, slots (rows, slots) -> outputs (rows, heads, value_size)."""
        rows, heads, _, slots = self.own_keys.shape
        scores = reading.own()
        scores.masked_fill_(unfilled[:, None, None], torch.finfo(scores.dtype).min)
        outputs, start = [], 0
        for index, own in enumerate(scores.split(list(sizes))):
            span = slice(start, start + len(own))
            runs, values = zip(*reading.prefix(index, span), strict=True)
            weights = torch.softmax(torch.cat((*runs, own.permute(1, 2, 0, 3).flatten(1, 2)), -1), -1)
            *parts, last = weights.split([*(run.shape[-1] for run in runs), slots], -1)
            own.copy_(last.unflatten(1, (-1, len(own))).permute(2, 0, 1, 3))
            mixed = [product(part, value) for part, value in zip(parts, values, strict=True)]
            outputs.append(sum(mixed[1:], mixed[0]).unflatten(1, (-1, len(own))))
            start = span.stop
        own_output = torch.bmm(scores.flatten(0, 1), self.own_values.flatten(0, 1)).unflatten(0, (rows, heads))
        return (torch.cat(outputs, 2).permute(2, 0, 1, 3) + own_output).flatten(1, 2)
