# SPDX-License-Identifier: Apache-2.0
"""Prefix ids -> the keys and values that every question of a context continues from.

The prefix passes through the model once; each batch of questions gets a cache of its own whose first keys and values
are views of the prefix's. Works for any cache that holds keys and values (full and sliding-window layers alike).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import psutil
import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer

from .attention import flashes
from .errors import UsageError
from .models import LoadedModel

# The cache layers whose whole state is keys and values; a dummy's attention reads another layer's.
SHAREABLE = (DynamicLayer, DynamicSlidingWindowLayer, DummyLayer)
# Tokens read at once where no gradient is asked for: what is alive beside the cache grows no further. Where there is
# FlashAttention that is little, and few prompts need to be cut.
CHUNK, FLASH_CHUNK = 4096, 32768
Told = Callable[[int, int], None]  # from where to where a prefix has been read, as each piece of it has been


class PrefixCache:
    """Keys and values of a prefix, a pair for each layer with its own: (variants, key_value_heads, time, head_size).

    A variant is what one setting of the model made of the prefix; all but probing/ has a single one. An empty prefix
    gives an empty cache. `positions` are those of its tokens, None for 0, 1, 2, ...
    """

    def __init__(self, cache: DynamicCache, positions: Sequence[int] | None, variants: int = 1) -> None:
        self._cache = cache
        self.positions = positions
        self.variants = variants

    @classmethod
    def prefill(
        cls,
        model: LoadedModel,
        prefix_ids: Sequence[int],
        positions: Sequence[int] | None = None,
        variants: int = 1,
        chunk: int | None = None,
        on_piece: Told = lambda start, stop: None,
    ) -> PrefixCache:
        """Run the prefix through the model once, with a graph if gradients are enabled; vocabulary logits of one row.

        `chunk` reads so many tokens at a time, each piece behind those before it. Several `variants` are so many rows
        of one batch, equal until hooks of the caller's tell them apart (probing/). `positions` puts each token
        elsewhere than at its index (rising; see tuning/spreading.py). UsageError where some layer keeps more than keys
        and values (a recurrent state, say) or the model nothing, and where positions can't be given.
        """
        if positions is not None and not model.takes_positions:
            raise UsageError(
                f"{model.name} takes no positions, so its contexts can't be spread; leave --spread out and tune at the "
                "length that matters"
            )
        cache = DynamicCache(config=model.model.config)
        prefix = cls(cache, positions, variants)
        unfit = [layer for layer in cache.layers if type(layer) not in SHAREABLE]
        if prefix_ids and not unfit:
            ids = torch.tensor([list(prefix_ids)], device=model.device).expand(variants, -1)
            placed = None if positions is None else torch.tensor([list(positions)], device=model.device)
            # One position's logits, by its index: a 1 cuts a strided view, for which torch copies the whole matrix.
            first = torch.zeros(1, dtype=torch.long, device=model.device)
            size = chunk or len(prefix_ids)
            for start in range(0, len(prefix_ids), size):
                piece = slice(start, start + size)
                given = {} if placed is None else {"position_ids": placed[:, piece], "held": placed[:, :start]}
                model.run(ids[:, piece], cache, logits_to_keep=first, **given)
                on_piece(start, min(piece.stop, len(prefix_ids)))
            unfit = [] if prefix.tensors() else cache.layers
        if unfit:
            raise UsageError(
                f"{model.name} keeps no plain keys and values in {len(unfit)} of its {len(cache.layers)} layers "
                f"({type(unfit[0]).__name__}), so questions can't share a prefix; choose a model with ordinary "
                "attention in every layer"
            )
        return prefix

    @property
    def length(self) -> int:
        """Positions held."""
        return self._cache.get_seq_length()

    @property
    def forgets(self) -> bool:
        """Whether some layer keeps only a sliding window of the prefix (or no prefix was run, so that nobody knows)."""
        return _any_sliding(self._cache) or not self.tensors()

    def tensors(self) -> list[torch.Tensor]:
        """Keys and values of all layers: k0, v0, k1, v1, ..."""
        held = [layer for layer in self._cache.layers if layer.keys is not None]
        return [tensor for layer in held for tensor in (layer.keys, layer.values)]

    def with_tensors(self, tensors: Sequence[torch.Tensor]) -> PrefixCache:
        """The same prefix over other keys and values (in the order of `tensors`)."""
        cache = copy.copy(self._cache)
        remaining = iter(tensors)
        cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        for layer in cache.layers:
            if layer.keys is not None:
                layer.keys, layer.values = next(remaining), next(remaining)
        return PrefixCache(cache, self.positions, self.variants)

    @property
    def bytes(self) -> int:
        """Bytes of its keys and values."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors())

    @property
    def bytes_per_token(self) -> int:
        """Bytes that one position takes; 0 where nothing is held."""
        return self.bytes // max(1, self.length)

    def cut(self, length: int) -> PrefixCache:
        """The prefix's first tokens alone, as views; of a cache that forgets this can't be had."""
        if length == self.length:
            return self
        assert not self.forgets
        held = self.with_tensors([tensor[:, :, :length] for tensor in self.tensors()])
        return PrefixCache(held._cache, None if self.positions is None else self.positions[:length], self.variants)

    def extended(
        self,
        model: LoadedModel,
        ids: Sequence[int],
        chunk: int | None = None,
        on_piece: Told = lambda start, stop: None,
    ) -> PrefixCache:
        """The prefix with more ids behind it, itself left as it is; at positions that go on by one.

        They are read `chunk` tokens at a time, by default as many as suit the model.
        """
        if not ids:
            return self
        cache = self.rows(1)
        start = self.position_after(self.length)
        more = range(start, start + len(ids))
        last = torch.tensor([-1], device=model.device)
        size = chunk or chunk_for(model)
        for begin in range(0, len(ids), size):
            piece = slice(begin, begin + size)
            given = {}
            if start != self.length:
                given["position_ids"] = torch.tensor([list(more[piece])], device=model.device)
                before = torch.tensor([list(more[:begin])], device=model.device, dtype=torch.long)
                given["held"] = torch.cat((self.slot_positions(model.device), before), 1)
            model.run(torch.tensor([list(ids[piece])], device=model.device), cache, logits_to_keep=last, **given)
            on_piece(self.length + begin, self.length + min(piece.stop, len(ids)))
        assert isinstance(cache, DynamicCache)
        return PrefixCache(cache, None if self.positions is None else (*self.positions, *more), self.variants)

    def position_after(self, length: int) -> int:
        """Where what continues the first `length` tokens stands."""
        return length if self.positions is None or not length else self.positions[length - 1] + 1

    def slot_positions(self, device: torch.device) -> torch.Tensor:
        """The positions of its tokens, (1, length)."""
        held = range(self.length) if self.positions is None else self.positions
        return torch.tensor([list(held)], device=device)

    def rows(self, count: int) -> Cache:
        """A fresh cache for `count` continuations of each variant, a variant's rows one after the other.

        Appending to it leaves the prefix as it is.
        """
        held = self.tensors()
        if self.variants == 1:
            held = [tensor.expand(count, -1, -1, -1) for tensor in held]
        elif count > 1:
            held = [tensor.repeat_interleave(count, dim=0) for tensor in held]
        return self.with_tensors(held)._cache


def forgets(model: LoadedModel) -> bool:
    """Whether some layer of the model keeps only a sliding window."""
    return _any_sliding(DynamicCache(config=model.model.config))


def _any_sliding(cache: Cache) -> bool:
    return any(getattr(layer, "is_sliding", False) for layer in cache.layers)


def rows_that_fit(model: LoadedModel, prefix: PrefixCache, new_tokens: int) -> int:
    """How many questions may continue the prefix at a time, each with its own copy of the keys and values.

    A third of the memory that is free on the device, at least one row; a question is taken as 256 tokens and
    `new_tokens`.
    """
    per_row = prefix.bytes_per_token * (prefix.length + new_tokens + 256)
    return max(1, free_memory(model.device) // 3 // max(1, per_row))


def free_memory(device: torch.device) -> int:
    """Bytes free on the device (on a CPU: available to this machine)."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available


def chunk_for(model: LoadedModel) -> int:
    """Tokens that the model reads at once, without gradients."""
    return FLASH_CHUNK if flashes(model.model.dtype, model.device) else CHUNK
