# SPDX-License-Identifier: Apache-2.0
"""Adapters <-> standard PEFT folders with a seal.json beside them, which says what they were tuned on and under."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from ..errors import UsageError
from ..models import LoadedModel
from ..projections import same_fingerprint
from ..rotary import regime_of
from ..runs import load_json, save_json, save_tensors
from .methods import Adapter, LowRank, Scales, create

CONFIG_FILE, WEIGHTS_FILE, SEAL_FILE = "adapter_config.json", "adapter_model.safetensors", "seal.json"


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
