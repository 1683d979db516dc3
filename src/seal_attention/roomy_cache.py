# SPDX-License-Identifier: Apache-2.0
"""Prefixes, a line each -> one cache with room behind them, so that decoding a step copies nothing that is held."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from .shared_prefix import PrefixCache


class RoomyLayer(DynamicLayer):
    """Keys and values of several prefixes, a line each, in room made once: a step writes its slots, no more.

    `used` slots count as written; what comes next stands behind them.
    """

    def __init__(self, keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor], room: int, used: int) -> None:
        super().__init__()
        self.dtype, self.device = keys[0].dtype, keys[0].device
        # A CPU computes scores in half the time where the slots of the keys stand side by side (docs/log.md).
        self.key_room = self._roomy(keys, room, slots_last=self.device.type == "cpu")
        self.value_room = self._roomy(values, room)
        self.used = used
        self.is_initialized = True
        self._view()

    @staticmethod
    def _roomy(tensors: Sequence[torch.Tensor], room: int, slots_last: bool = False) -> torch.Tensor:
        """(lines, heads, room, size), in memory with the slots innermost where asked."""
        _, heads, _, size = tensors[0].shape
        inner = (size, room) if slots_last else (room, size)
        held = tensors[0].new_zeros(len(tensors), heads, *inner)  # zeros: a masked slot must not hold a NaN
        if slots_last:
            held = held.transpose(2, 3)
        for line, tensor in zip(held, tensors, strict=True):
            line[:, : tensor.shape[2]] = tensor[0]
        return held

    def _view(self) -> None:
        self.keys, self.values = self.key_room[:, :, : self.used], self.value_room[:, :, : self.used]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write behind what is held."""
        end = self.used + key_states.shape[2]
        self.key_room[:, :, self.used : end] = key_states
        self.value_room[:, :, self.used : end] = value_states
        self.used = end
        self._view()
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep some lines."""
        self.key_room, self.value_room = self.key_room[indices], self.value_room[indices]
        self._view()


def stacked(prefixes: Sequence[PrefixCache], room: int, used: int) -> Cache:
    """One cache with a line for each prefix and room for `room` slots, of which `used` count as written."""
    cache = DynamicCache()
    layers = zip(*(prefix.rows(1).layers for prefix in prefixes), strict=True)
    cache.layers = [
        own[0]
        if own[0].keys is None
        else RoomyLayer([layer.keys for layer in own], [layer.values for layer in own], room, used)
        for own in layers
    ]
    return cache


def write_behind(cache: Cache, line: int, slot: int, held: Sequence[torch.Tensor]) -> None:
    """Put keys and values, in the order of `PrefixCache.tensors`, into a line of a stacked cache from a slot on."""
    layers = [layer for layer in cache.layers if isinstance(layer, RoomyLayer)]
    for layer, keys, values in zip(layers, held[::2], held[1::2], strict=True):
        layer.key_room[line, :, slot : slot + keys.shape[2]] = keys[0]
        layer.value_room[line, :, slot : slot + values.shape[2]] = values[0]
