# SPDX-License-Identifier: Apache-2.0
"""What autograd keeps for the backward pass -> the same numbers in less memory, bit for bit what was given.

Two things cost a graph more than its numbers. Norms of 16-bit models turn their input into float32, and that is kept,
twice as wide as what it came from: here it is kept as it came, wherever that gives back the same bits. And on a CPU
the temporaries between two kept tensors leave holes in the heap, into which glibc can't put an aligned tensor of the
same size: here they are handed back to the system while the graph grows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from .devices import return_freed_memory
from .models import LoadedModel

LONG = 2048  # tokens of a prefix whose graph is worth it: of a shorter one's step it would take a tenth of the time
SMALL = 2**16  # numbers; tensors that have fewer stay as they are
SAMPLE = 256  # numbers that are tried before all are
HANDED_BACK = 128 * 2**20  # bytes, kept or asked for again, after which holes are handed back


@contextlib.contextmanager
def lean_graph(model: LoadedModel, tokens: int) -> Iterator[None]:
    """Graphs of a prefix of so many tokens, and of what is asked behind it, keep less while this lasts."""
    if tokens < LONG:
        yield
        return
    keeping = _Keeping(model)
    try:
        with torch.autograd.graph.saved_tensors_hooks(keeping.pack, keeping.unpack):
            yield
    finally:
        keeping.newest = keeping.widened = None  # graphs that live on hold the hooks


class _Keeping:
    """Several operations may keep one tensor, one after the other: `newest` is it, its version, what was kept of it.

    They ask for it one after the other too: `widened` is what was kept of the last one, and it as it was given.
    `passed` counts bytes, kept or asked for again, since holes were handed back. All that is kept is detached: an
    operation that kept its own output with its history would hold itself, and what no gradient reaches, the last
    layer's graph of a prefix, would never be freed.
    """

    def __init__(self, model: LoadedModel) -> None:
        self.dtype = model.model.dtype
        self.newest: tuple[torch.Tensor, int, torch.Tensor] | None = None
        self.weights = {parameter.untyped_storage().data_ptr() for parameter in model.model.parameters()}
        self.widened: tuple[torch.Tensor, torch.Tensor] | None = None
        self.passed = 0

    def pack(self, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.dtype]:
        """What to keep, and the type of what was given."""
        tensor = tensor.detach()
        if tensor.numel() < SMALL or tensor.untyped_storage().data_ptr() in self.weights:
            return tensor, tensor.dtype
        known = self.newest
        if known is not None and known[1] == tensor._version and _same(known[0], tensor):
            return known[2], tensor.dtype
        packed = self._narrowed(tensor)
        self.newest = tensor, tensor._version, packed
        self._count(packed)
        return packed, tensor.dtype

    def unpack(self, kept: tuple[torch.Tensor, torch.dtype]) -> torch.Tensor:
        """What was given."""
        tensor, dtype = kept
        if self.widened is not None and self.widened[0] is tensor:
            return self.widened[1]
        if tensor.numel() >= SMALL and tensor.untyped_storage().data_ptr() not in self.weights:
            self._count(tensor)
        if tensor.dtype == dtype:
            return tensor
        self.widened = tensor, tensor.to(dtype)
        return self.widened[1]

    def _count(self, tensor: torch.Tensor) -> None:
        self.passed += tensor.numel() * tensor.element_size()
        if self.passed > HANDED_BACK and tensor.device.type == "cpu":
            self.passed = 0
            return_freed_memory()

    def _narrowed(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor in the model's 16 bits where it is exactly that, else itself."""
        if tensor.dtype != torch.float32 or self.dtype.itemsize != 2:
            return tensor
        for some in (tensor.reshape(-1)[:SAMPLE], tensor):
            narrow = some.to(self.dtype)
            if not torch.equal(narrow.float(), some):
                return tensor
        return narrow


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors are the same piece of memory, read alike."""
    alike = one.data_ptr() == other.data_ptr() and one.dtype == other.dtype
    return alike and one.shape == other.shape and one.stride() == other.stride()
