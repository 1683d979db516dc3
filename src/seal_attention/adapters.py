# SPDX-License-Identifier: Apache-2.0
"""Methods -> adapters that attach to a model and come off again; adapters <-> standard PEFT folders.

SEAL-H and SEAL-C are scales on the input of each attention output projection (paper, section 4; one a head, one a
channel). On disk a channel scale is an (IA)^3 vector and a head scale the same vector repeated over the head's
channels, so stock PEFT loads both. SEAL-L and SEAL-D are PEFT's LoRA and DoRA.
"""

from __future__ import annotations

import contextlib
import hashlib
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
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from .errors import UsageError
from .models import LoadedModel, attention_linears
from .projections import OutputProjection, same_fingerprint
from .rotary import regime_of
from .runs import load_json, save_json, save_tensors

METHODS = ("seal-h", "seal-c", "seal-l", "seal-d")
LORA_RANK = 4
PEFT_PREFIX = "base_model.model."
CONFIG_FILE, WEIGHTS_FILE, SEAL_FILE = "adapter_config.json", "adapter_model.safetensors", "seal.json"


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


def _home(projection: OutputProjection) -> torch.device:
    """Where a projection's scales live: on its own device, or on the CPU for a model that has no weights yet."""
    device = projection.weight.device
    return torch.device("cpu") if device.type == "meta" else device


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


def save(adapter: Adapter, folder: Path, model: LoadedModel, notes: Mapping[str, Any]) -> None:
    """Write the adapter as a PEFT folder with a seal.json beside it (docs/formats.md); each file atomically."""
    config, tensors = adapter.peft_files(model.name)
    seal = {
        "format": 1,
        "method": adapter.method,
        "base": {"name": model.name, "revision": model.revision, "fingerprint": model.fingerprint()},
        **notes,
        **_reading(model),
    }
    if isinstance(adapter, Scales):
        seal["layers"] = [p.layer for p in model.projections]
        seal["heads"] = adapter.head_values()
    save_tensors(folder / WEIGHTS_FILE, tensors)
    save_json(folder / CONFIG_FILE, config)
    save_json(folder / SEAL_FILE, seal)


def _reading(model: LoadedModel) -> dict[str, Any]:
    """What seal.json keeps of how the model reads positions: its extension, and which of LongRoPE's factors."""
    found: dict[str, Any] = {}
    if model.extension:
        native, window = model.native_window, model.window
        found["extension"] = {"extend": model.extension, "native_window": native, "window": window}
    if regime := regime_of(model.model.config, model.native_window):
        found["longrope"] = regime
    return found


def describe(folder: Path) -> dict[str, Any]:
    """The adapter folder's seal.json; for a stock PEFT folder of ours without one, what its config tells."""
    if not folder.is_dir():
        raise UsageError(f"there is no adapter folder {folder}; give the folder that holds {WEIGHTS_FILE}")
    config = load_json(folder / CONFIG_FILE)
    if (folder / SEAL_FILE).exists():
        return load_json(folder / SEAL_FILE)
    if config.get("peft_type") != "IA3":
        raise UsageError(
            f"{folder} is a {config.get('peft_type')} adapter without {SEAL_FILE}; SEAL reads (IA)^3 scales and its "
            "own adapters"
        )
    return {"method": "seal-c", "base": {"name": config.get("base_model_name_or_path"), "fingerprint": None}}


def load(
    folder: Path, model: LoadedModel, strength: float = 1.0, fingerprint: Mapping[str, Any] | None = None
) -> Scales | LowRank:
    """Read an adapter for `model` (whose `fingerprint` is given where its weights are not in memory).

    UsageError where the folder is missing, corrupt or foreign, where a scale is not finite, where the adapter was made
    for another model, naming both, or where it was tuned under a window extension and the model has none.
    """
    seal = describe(folder)
    tuned_under = seal.get("extension")
    if tuned_under and model.extension is None:
        held = tuned_under["native_window"]
        held_down = f" --window {held} (in perplexity: --native-window)" if model.native_window != held else ""
        raise UsageError(
            f"the adapter {folder} was tuned under --extend {tuned_under['extend']}, and without it the heads that it "
            f"scales do something else; add --extend {tuned_under['extend']}{held_down}"
        )
    base = seal["base"]
    if base["fingerprint"] is not None and not same_fingerprint(
        base["fingerprint"], fingerprint or model.fingerprint()
    ):
        raise UsageError(
            f"the adapter {folder} was made for {base['name']!r}, not for {model.name!r}: their weights differ; "
            "use it with the model it was tuned on, or tune a new one"
        )
    try:
        tensors = load_file(folder / WEIGHTS_FILE)
    except (OSError, SafetensorError) as error:
        raise UsageError(
            f"{folder / WEIGHTS_FILE} can't be read ({error}); copy the adapter again or tune a new one"
        ) from error
    adapter = create(seal["method"], model, strength)
    expected = {name: tensor.shape for name, tensor in adapter.peft_files(model.name)[1].items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != expected:
        raise UsageError(
            f"the adapter {folder} does not fit {model.name!r}: it holds {len(tensors)} tensors where "
            f"{len(expected)} of other "
            "names or shapes are needed; use the model it was tuned on"
        )
    if isinstance(adapter, Scales):
        adapter.load_vectors(tensors, folder / WEIGHTS_FILE)
    else:
        adapter.load_state(tensors)
    return adapter


def tuned_elsewhere(folder: Path, model: LoadedModel) -> str | None:
    """A sentence where the adapter was tuned under another extension, window or LongRoPE factors than the model has.

    None where they are the same, and where nobody wrote them down: in stock folders, and the factors in older ones.
    """
    then, now = describe(folder), _reading(model)
    told = ["extension"] * ("format" in then) + ["longrope"] * ("longrope" in then)
    differing = [key for key in told if then.get(key) != now.get(key)]
    if not differing:
        return None
    tuned, used = (" and ".join(_in_words(key, held.get(key)) for key in differing) for held in (then, now))
    return (
        f"the adapter {folder} was tuned under {tuned} and is used here under {used}, where the heads that it scales "
        "may do something else"
    )


def _in_words(key: str, held: Any) -> str:
    if key == "longrope":
        return f"LongRoPE's {held} factors"
    return f"{held['extend']} from a window of {held['native_window']:,}" if held else "no extension"


def digest(folder: Path) -> str:
    """SHA-256 of the adapter's weights file: what it is, wherever it lies."""
    try:
        return hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(
            f"{folder / WEIGHTS_FILE} can't be read ({error.strerror}); copy the adapter again or tune a new one"
        ) from error


def _json_ready(config: Mapping[str, Any]) -> dict[str, Any]:
    """A PEFT config as PEFT itself would write it: sets as sorted lists, enums as their values."""
    return {
        key: sorted(value) if isinstance(value, set) else getattr(value, "value", value)
        for key, value in sorted(config.items())
    }
