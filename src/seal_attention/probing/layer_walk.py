# SPDX-License-Identifier: Apache-2.0
"""One run of a model, each decoder layer's input kept -> later runs that start at any of its layers.

The model's own forward does every run, so that masks, positions and whatever a family does around its layers are its
own. Layers below the first are passed by, and the first is given what it was given before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import Cache


@dataclass
class LayerRuns:
    """What the decoder layers did in one forward of the model.

    `order` is which layer ran when; `hidden` maps the layers asked for to their hidden inputs, each
    (rows, time, hidden); `outputs` is how many things each returned, 0 for a bare tensor; `linked` says that a layer
    was given more of another's outputs than the hidden states.
    """

    order: list[int] = field(default_factory=list)
    hidden: dict[int, torch.Tensor] = field(default_factory=dict)
    outputs: list[int] = field(default_factory=list)
    linked: bool = False

    @property
    def plain(self) -> bool:
        """Whether each layer ran once, in order, on hidden states alone: else no run can start in the middle."""
        in_order = self.order == list(range(len(self.order)))
        return in_order and not self.linked and all(hidden.ndim == 3 for hidden in self.hidden.values())


@contextlib.contextmanager
def recorded(layers: Sequence[nn.Module], wanted: Collection[int]) -> Iterator[LayerRuns]:
    """Record the forward that runs until the context ends, with the inputs of the `wanted` layers."""
    runs = LayerRuns()
    besides: list[Any] = []  # what the layer before returned beside the hidden states

    def keeping(index: int) -> Callable[..., None]:
        def keep(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given = (*args, *kwargs.values())
            runs.linked |= any(one is other for one in given for other in besides)
            outputs = output if isinstance(output, tuple) else ()
            besides[:] = [one for one in outputs[1:] if one is not None]
            runs.order.append(index)
            runs.outputs.append(len(outputs))
            if index in wanted:
                runs.hidden[index] = _hidden(args, kwargs)

        return keep

    with contextlib.ExitStack() as hooks:
        for index, layer in enumerate(layers):
            hooks.callback(layer.register_forward_hook(keeping(index), with_kwargs=True).remove)
        yield runs


@contextlib.contextmanager
def resumed(layers: Sequence[nn.Module], first: int, runs: LayerRuns, below: Cache) -> Iterator[None]:
    """Forwards start at layer `first`, on the input it had in `runs`, until the context ends.

    A forward's batch is the recorded one, repeated as a whole. `below` holds the keys and values that the layers passed
    by would have left in a cache; of them only the length is read, from which the model makes its masks.
    """

    def passing_by(index: int) -> Callable[..., Any]:
        def pass_by(*args: Any, **kwargs: Any) -> Any:
            for cache in (value for value in (*args, *kwargs.values()) if isinstance(value, Cache)):
                cache.layers[index] = below.layers[index]
            hidden, outputs = _hidden(args, kwargs), runs.outputs[index]
            return (hidden, *[None] * (outputs - 1)) if outputs else hidden

        return pass_by

    def give(_layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        kept = runs.hidden[first]
        kept = kept.repeat(len(_hidden(args, kwargs)) // len(kept), 1, 1)
        return ((kept, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": kept})

    with contextlib.ExitStack() as changes:
        for index, layer in enumerate(layers[:first]):
            changes.enter_context(_forwarding(layer, passing_by(index)))
        changes.callback(layers[first].register_forward_pre_hook(give, with_kwargs=True).remove)
        yield


@contextlib.contextmanager
def _forwarding(layer: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """One layer, not its class, with another forward (no hook can keep a layer from running)."""
    own = vars(layer)
    before = {"forward": own["forward"]} if "forward" in own else {}
    own["forward"] = forward
    try:
        yield
    finally:
        del own["forward"]
        own.update(before)


def _hidden(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """The hidden states among what a layer is called with."""
    hidden = args[0] if args else kwargs["hidden_states"]
    assert isinstance(hidden, torch.Tensor)
    return hidden
