# SPDX-License-Identifier: Apache-2.0
"""Method names -> adapters that attach to a model and come off again.

SEAL-H and SEAL-C are scales on the input of each attention output projection (paper, section 4; one a head, one a
channel). Written down, a channel scale is an (IA)^3 vector and a head scale the same vector repeated over the head's
channels, so stock PEFT loads both. SEAL-L and SEAL-D are PEFT's LoRA and DoRA.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import (
    IA3Config,
    LoraConfig,
    PeftModel,
    TaskType,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from torch import nn

from ..errors import UsageError
from ..models import LoadedModel, attention_linears
from ..projections import OutputProjection

METHODS = ("seal-h", "seal-c", "seal-l", "seal-d")
LORA_RANK = 4
PEFT_PREFIX = "base_model.model."


class Adapter(Protocol):
    """What tuning, evaluation and saving need of any method."""

    method: str
    strength: float

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The numbers that are learnt, by name."""

    def attached(self, model: LoadedModel) -> contextlib.AbstractContextManager[None]:
        """The model with the adapter at work, until the context ends."""

    def peft_files(self, base: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """The contents of adapter_config.json and adapter_model.safetensors."""


class Scales:
    """One scale a head (`seal-h`) or a channel (`seal-c`) of every output projection's input, all starting at 1.

    `values[name]` has shape (heads,) or (heads * head_size,), float32, keyed by the projection's name. `strength`
    dials the effect: effective scale = 1 + strength * (scale - 1).
    """

    def __init__(self, method: str, projections: list[OutputProjection], strength: float = 1.0) -> None:
        self.method = method
        self.strength = strength
        self.head_sizes = {p.name: p.head_size for p in projections}
        self.values = {
            p.name: nn.Parameter(torch.ones(p.heads if method == "seal-h" else p.channels, device=_home(p)))
            for p in projections
        }

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """The scales by projection name."""
        return self.values

    def channel_scales(self, name: str) -> torch.Tensor:
        """The effective scale of every input channel of one projection, (heads * head_size,), float32."""
        values: torch.Tensor = self.values[name]
        if self.method == "seal-h":
            values = values.repeat_interleave(self.head_sizes[name])
        return values if self.strength == 1.0 else 1 + self.strength * (values - 1)

    @contextlib.contextmanager
    def attached(self, model: LoadedModel) -> Iterator[None]:
        """Multiply each projection's input by its scales (in float32, cast back, like PEFT) until the context ends."""
        # By its name: an attached LoRA has put its own module in the projection's place, and reads the same input.
        modules = {name: model.model.get_submodule(name) for name in self.values}
        handles = [module.register_forward_pre_hook(self._scale_input(name)) for name, module in modules.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _scale_input(self, name: str) -> Callable[..., tuple[Any, ...]]:
        def hook(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            heads_out = inputs[0]  # (batch, time, heads * head_size)
            scales = self.channel_scales(name).to(heads_out.device)
            return ((heads_out * scales).to(heads_out.dtype), *inputs[1:])

        return hook

    def peft_files(self, base: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """A stock (IA)^3 adapter: the projections are both target and feed-forward, the vectors (1, channels)."""
        pattern = "|".join(sorted({re.sub(r"\d+", r"\\d+", re.escape(name)) for name in self.values}))
        config = IA3Config(
            task_type=TaskType.CAUSAL_LM,
            target_modules=pattern,
            feedforward_modules=pattern,
            base_model_name_or_path=base,
            inference_mode=True,
        )
        tensors = {
            f"{PEFT_PREFIX}{name}.ia3_l": self.channel_scales(name).detach().cpu().reshape(1, -1).contiguous()
            for name in self.values
        }
        return _json_ready(config.to_dict()), tensors

    def load_vectors(self, vectors: Mapping[str, torch.Tensor], where: Path) -> None:
        """Take the values from (IA)^3 vectors; UsageError where they are not finite or, for heads, not constant."""
        for name, parameter in self.values.items():
            vector = vectors[f"{PEFT_PREFIX}{name}.ia3_l"].flatten().float()
            if not torch.isfinite(vector).all():
                raise UsageError(f"{where} holds a scale that is not a finite number (in {name}); tune it again")
            if self.method == "seal-h":
                vector = vector.reshape(-1, self.head_sizes[name])
                if not (vector == vector[:, :1]).all():
                    raise UsageError(
                        f"{where} says seal-h, but the channels of a head differ (in {name}); tune it again"
                    )
                vector = vector[:, 0]
            with torch.no_grad():
                parameter.copy_(vector)

    def head_values(self) -> list[list[float]]:
        """Layers x heads: each head's scale, for channels the mean over the head."""
        return [
            self.channel_scales(name).detach().reshape(-1, self.head_sizes[name]).mean(1).tolist()
            for name in self.values
        ]


class LowRank:
    """PEFT's LoRA (`seal-l`) or DoRA (`seal-d`), rank 4 on every linear of the attention: the paper's baselines.

    The adapter lives inside the model only while attached; between times its numbers are kept here.
    """

    def __init__(self, method: str, model: LoadedModel, strength: float = 1.0) -> None:
        if method == "seal-d" and strength != 1.0:
            raise UsageError(
                f"--strength {strength} can't be used with seal-d: DoRA's direction and magnitude don't scale "
                "together; use 1"
            )
        self.method = method
        self.strength = strength
        self.config = LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=LORA_RANK,
            lora_alpha=2 * LORA_RANK,
            target_modules=attention_linears(model),
            use_dora=method == "seal-d",
        )
        self.wrapped: PeftModel = get_peft_model(model.model, self.config)
        self._parameters = {name: p for name, p in self.wrapped.named_parameters() if p.requires_grad}
        with torch.no_grad():
            for parameter in self._parameters.values():
                parameter.data = parameter.data.float()
        self.wrapped.disable_adapter_layers()

    def parameters(self) -> Mapping[str, nn.Parameter]:
        """LoRA's A and B matrices (and DoRA's magnitudes) by name."""
        return self._parameters

    @contextlib.contextmanager
    def attached(self, model: LoadedModel) -> Iterator[None]:
        """Enable the layers that PEFT put into the model until the context ends."""
        self.wrapped.enable_adapter_layers()
        scaled = [
            module
            for module in self.wrapped.modules()
            if hasattr(module, "scale_layer") and hasattr(module, "unscale_layer")
        ]
        for module in scaled:
            module.scale_layer(self.strength)
        try:
            yield
        finally:
            for module in scaled:
                module.unscale_layer()  # to the scale it came with; dividing by the strength fails at 0
            self.wrapped.disable_adapter_layers()

    def peft_files(self, base: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """A stock LoRA adapter."""
        state = {
            name: tensor.detach().cpu().contiguous() for name, tensor in get_peft_model_state_dict(self.wrapped).items()
        }
        return _json_ready({**self.config.to_dict(), "base_model_name_or_path": base, "inference_mode": True}), state

    def load_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take the numbers from a stock adapter's tensors."""
        set_peft_model_state_dict(self.wrapped, dict(state))


def create(method: str, model: LoadedModel, strength: float = 1.0) -> Scales | LowRank:
    """A fresh adapter of `method` that leaves the model as it is. UsageError for an unknown method."""
    if method in ("seal-h", "seal-c"):
        return Scales(method, model.projections, strength)
    if method in ("seal-l", "seal-d"):
        return LowRank(method, model, strength)
    raise UsageError(f"unknown --method {method!r}; choose {', '.join(METHODS)}")


def remove(adapter: Scales | LowRank) -> None:
    """Take what a fresh adapter put into its model out again; scales put nothing there while they are not attached."""
    if isinstance(adapter, LowRank):
        adapter.wrapped.unload()


def _home(projection: OutputProjection) -> torch.device:
    """Where a projection's scales live: on its own device, or on the CPU for a model that has no weights yet."""
    device = projection.weight.device
    return torch.device("cpu") if device.type == "meta" else device


def _json_ready(config: Mapping[str, Any]) -> dict[str, Any]:
    """A PEFT config as PEFT itself would write it: sets as sorted lists, enums as their values."""
    return {
        key: sorted(value) if isinstance(value, set) else getattr(value, "value", value)
        for key, value in sorted(config.items())
    }
