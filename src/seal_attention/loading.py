# SPDX-License-Identifier: Apache-2.0
"""A model's name -> the loaded model, its tokenizer and its attention output projections, ready for use.

A name is a hub id, a local folder, a GGUF file, or the embedded default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from .attention import BLOCKWISE, register_blockwise
from .devices import bound_kernel_caches, pick_device, pick_dtype
from .embedded import DEFAULT_MODEL, embedded_model, quiet_transformers
from .errors import UsageError
from .models import LoadedModel
from .projections import find_output_projections


def pick_attention(name: str, config: Any) -> str | None:
    """`auto` -> eager for models that cap their attention scores (Gemma 2), which SDPA can't do.

    For the rest None: transformers then takes SDPA where the family has it (MPT, GPT-J and Bloom have not).
    """
    if name != "auto":
        return name
    return "eager" if getattr(config.get_text_config(decoder=True), "attn_logit_softcapping", None) else None


def prefer_blockwise(model: PreTrainedModel) -> None:
    """Let attention go through attention.py where the family would take SDPA and allows a choice."""
    chosen = model.config.get_text_config(decoder=True)._attn_implementation
    if chosen == "sdpa" and model.device.type in ("cpu", "cuda"):
        register_blockwise()
        with quiet_transformers():
            model.set_attn_implementation(BLOCKWISE)


def load(
    name: str = DEFAULT_MODEL,
    *,
    dtype: str = "auto",
    device: str = "auto",
    attention: str = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> LoadedModel:
    """Load a model in evaluation mode with frozen weights.

    `name` is a hub id, a folder, a .gguf file or the embedded default. UsageError where it is none of these, or
    where the model has no output projection to scale; SealError where a needed package is missing.
    """
    target = pick_device(device)
    bound_kernel_caches()
    source, extra = _source(name, revision)
    try:
        with quiet_transformers():
            config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code, **extra)
            tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code, **extra)
            if "gguf_file" in extra:
                extra["quantization_config"] = GgufConfig(dequantize=True)
            model = AutoModelForCausalLM.from_pretrained(
                source,
                config=None if "gguf_file" in extra else config,
                dtype=pick_dtype(dtype, target),
                attn_implementation=pick_attention(attention, config),
                trust_remote_code=trust_remote_code,
                **extra,
            )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UsageError(_load_failure(name, error)) from error
    if not getattr(model, "is_quantized", False):
        model.to(target)
    if attention == "auto":
        prefer_blockwise(model)
    model.requires_grad_(False).eval()
    return LoadedModel(name, model, tokenizer, find_output_projections(model, name), revision)


def load_tokenizer(
    name: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model alone. UsageError where there is none."""
    source, extra = _source(name, revision)
    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(source, trust_remote_code=trust_remote_code, **extra)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UsageError(_load_failure(name, error)) from error


def skeleton(name: str, folder: Path, *, trust_remote_code: bool = False) -> LoadedModel:
    """The model of a folder without its weights (on the meta device): enough to know its output projections."""
    try:
        with quiet_transformers(), torch.device("meta"):
            config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UsageError(_load_failure(name, error)) from error
    return LoadedModel(name, model, tokenizer, find_output_projections(model, name))


def local_folder(name: str, revision: str | None = None) -> Path:
    """The folder that holds the model's safetensors files: downloaded for a hub id. UsageError for a GGUF file."""
    source, extra = _source(name, revision)
    if "gguf_file" in extra:
        raise UsageError(
            f"{name!r} is a GGUF file, whose weights are packed; name the model folder or hub id it was made from"
        )
    if Path(source).is_dir():
        return Path(source)
    patterns = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.md", "LICENSE*"]
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        raise UsageError(_load_failure(name, error)) from error


def _load_failure(name: str, error: Exception) -> str:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if len(reason) > 200:
        reason = reason[:200] + "..."
    return (
        f"can't load model {name!r} ({reason}); give a hub id, a model folder, a .gguf file, or leave it out for "
        f"{DEFAULT_MODEL}"
    )


def _source(name: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """Where transformers should look, and the keyword arguments that go with it."""
    path = Path(name).expanduser()
    if name == DEFAULT_MODEL and not path.exists():
        return str(embedded_model()), {}
    if path.suffix == ".gguf":
        if not path.is_file():
            raise UsageError(f"there is no GGUF file {name!r}; check the path")
        return str(path.parent), {"gguf_file": path.name}
    if path.is_dir():
        if not (path / "config.json").exists():
            kind = "an adapter: pass it with --adapter" if (path / "adapter_config.json").exists() else "not a model"
            raise UsageError(
                f"{name!r} is {kind} (it has no config.json); give a model folder, or leave it out for {DEFAULT_MODEL}"
            )
        return str(path), {}
    return name, {"revision": revision} if revision else {}
