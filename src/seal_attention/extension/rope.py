# SPDX-License-Identifier: Apache-2.0
"""A model and a factor -> the same model with other rotary frequencies, for a window that many times longer.

Everything is said in the words of transformers' own rope parameters, so a config.json with them means the same wherever
it is read, and frequencies never change while a model runs: whatever is cached stays true.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from ..errors import UsageError
from ..models import LoadedModel
from ..projections import NOT_THE_DECODER

Parameters = dict[str, Any]  # transformers' rope parameters of one kind of layer
FULL_ATTENTION = "full_attention"  # the kind of layer whose positions reach beyond the window


@dataclass(frozen=True)
class RotaryScaling:
    """One of METHODS, and how many times longer the window is to be."""

    method: str
    factor: float
    in_config: ClassVar[bool] = True

    @property
    def name(self) -> str:
        """As it is typed."""
        return f"{self.method}:{self.factor:g}"

    def reach(self, native_window: int) -> int:
        """Factor times the native window."""
        return int(native_window * self.factor)

    def rule(self, native_window: int) -> None:
        """None: no key is read elsewhere than at its own position."""

    def apply(self, model: LoadedModel) -> LoadedModel:
        """Change the rope parameters in the model's configuration and build its rotary embeddings anew from them.

        UsageError where positions are not rotary, or scaled already in a way on which the method is not defined.
        """
        config = model.model.config.get_text_config(decoder=True)
        rotary = rotary_embeddings(model)
        assert model.native_window is not None
        held = copy.deepcopy(config.rope_parameters)
        kinds = config.nested_rope_parameter_keys(held)
        if not kinds:
            scaled = self._scaled(model, held, _rotated(rotary, "inv_freq"))
        elif FULL_ATTENTION in kinds:  # the others never look further back than their own sliding window
            rotated = _rotated(rotary, f"{FULL_ATTENTION}_inv_freq")
            scaled = {**held, FULL_ATTENTION: self._scaled(model, held[FULL_ATTENTION], rotated)}
        else:
            raise UsageError(
                f"{model.name} has rotary positions for {', '.join(kinds)} but none for {FULL_ATTENTION}, whose window "
                f"--extend {self.name} would scale; leave --extend out"
            )
        before = held, config.max_position_embeddings
        config.rope_parameters, config.max_position_embeddings = scaled, self.reach(model.native_window)
        try:
            config.validate_rope()
        except ValueError as error:
            config.rope_parameters, config.max_position_embeddings = before
            raise UsageError(
                f"{model.name} takes no --extend {self.name}: its configuration refuses such rope parameters ({error})"
            ) from error
        for name, module in rotary.items():
            device = next(module.buffers()).device
            model.model.set_submodule(name, type(module)(config=config).to(device))
        return model

    def _scaled(self, model: LoadedModel, held: Mapping[str, Any], rotated: int) -> Parameters:
        """The parameters of one kind of layer; `rotated` channels of a head are turned."""
        config = model.model.config.get_text_config(decoder=True)
        scale = METHODS[self.method]
        if held["rope_type"] not in scale.on:
            raise UsageError(
                f"{model.name} carries {held['rope_type']} scaling of its rotary positions already, on top of which "
                f"{self.method} is not defined (only on {' or '.join(scale.on)}); leave --extend out, or take "
                "self-extend"
            )
        if rotated < 4 and self.method in ("ntk", "dynamic-ntk"):
            raise UsageError(
                f"{model.name} turns only {rotated} channels of a head, at a single frequency, so there is no base to "
                f"change for --extend {self.name}; take linear:{self.factor:g}"
            )
        if self.method == "yarn" and getattr(config, "head_dim", 0) is None:  # transformers then fails to compute it
            size = config.hidden_size // config.num_attention_heads
            raise UsageError(
                f"{model.name} states no head_dim, without which transformers can't compute yarn; write "
                f'"head_dim": {size} into its config.json, or take ntk:{self.factor:g}'
            )
        assert model.native_window is not None
        return scale.change(dict(held), self.factor, rotated, model.native_window)


def rotary_embeddings(model: LoadedModel) -> dict[str, nn.Module]:
    """The decoder's modules that turn positions into angles as the configuration says, by name.

    UsageError where there are none: positions are learnt, counted back (ALiBi), or turned by a fixed table.
    """
    alibi = getattr(model.model.config.get_text_config(decoder=True), "alibi", False)
    found = {
        name: module
        for name, module in model.model.named_modules()
        if hasattr(module, "rope_type") and not NOT_THE_DECODER.search(name)
    }
    if alibi or not found:
        raise UsageError(
            f"{model.name} has no rotary positions that its configuration sets (they are learnt, ALiBi, or a fixed "
            "table), so its window can't be extended; leave --extend out"
        )
    return found


def ntk_theta(theta: float, factor: float, rotated: int) -> float:
    """The base at which the highest frequency stays as it is and the lowest is divided by `factor`.

    theta * factor ^ (d / (d - 2)), d the `rotated` channels (bloc97's NTK-aware scaling, 2023).
    """
    return theta * factor ** (rotated / (rotated - 2))


def _as_it_is(held: Parameters, factor: float, rotated: int, window: int) -> Parameters:
    """Nothing changed: how a model fares beyond its window by itself."""
    return held


def _linear(held: Parameters, factor: float, rotated: int, window: int) -> Parameters:
    """Position interpolation (Chen et al., 2023, arXiv 2306.15595): every frequency divided by the factor."""
    return {**held, "rope_type": "linear", "factor": factor * held.get("factor", 1.0)}


def _ntk(held: Parameters, factor: float, rotated: int, window: int) -> Parameters:
    """Another base, for every length the same."""
    return {**held, "rope_theta": ntk_theta(held["rope_theta"], factor, rotated)}


def _dynamic_ntk(held: Parameters, factor: float, rotated: int, window: int) -> Parameters:
    """Dynamic NTK's base at the full length that the factor allows, kept for shorter ones, as vLLM does.

    transformers would change the base with every token beyond the window and leave cached keys as they were turned.
    """
    at_full_length = factor * factor - (factor - 1)
    return _ntk(held, at_full_length, rotated, window)


def _yarn(held: Parameters, factor: float, rotated: int, window: int) -> Parameters:
    """YaRN (Peng et al., 2023, arXiv 2309.00071): low frequencies divided, high ones kept, attention sharpened."""
    return {**held, "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": window}


@dataclass(frozen=True)
class _Method:
    """How the parameters change, and on top of which scaling (transformers' rope types) that is well-defined."""

    change: Callable[[Parameters, float, int, int], Parameters]
    on: tuple[str, ...]


UNSCALED, INTERPOLATED = "default", "linear"
METHODS = {
    "linear": _Method(_linear, (UNSCALED, INTERPOLATED)),
    "ntk": _Method(_ntk, (UNSCALED, INTERPOLATED)),
    "dynamic-ntk": _Method(_dynamic_ntk, (UNSCALED, INTERPOLATED)),
    "yarn": _Method(_yarn, (UNSCALED,)),
    "plain": _Method(_as_it_is, (UNSCALED, INTERPOLATED, "llama3", "yarn", "proportional")),
}


def _rotated(rotary: Mapping[str, nn.Module], buffer: str) -> int:
    """Channels of a head that are turned: two for each frequency."""
    return 2 * len(next(iter(rotary.values())).get_buffer(buffer))
