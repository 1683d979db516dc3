# SPDX-License-Identifier: Apache-2.0
"""A model's name -> the loaded model, its tokenizer and its attention output projections, ready for use.

A name is a hub id, a local folder, a GGUF file, or the embedded default.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    Cache,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from .attention import BLOCKWISE, EXTENDED, register_blockwise
from .devices import pick_device, pick_dtype
from .embedded import DEFAULT_MODEL, embedded_model, quiet_transformers
from .errors import SealError, UsageError
from .projections import OutputProjection, find_output_projections, fingerprint, input_features, stated
from .rotary import settle
from .sliding import lift


@dataclass
class LoadedModel:
    """A causal language model ready for use, with its tokenizer and its output projections in layer order.

    `native_window` is how many positions it was made for, or held down to, None where its configuration does not say;
    `window` how many it may be given now: more under an `extension` (extension/).
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    projections: list[OutputProjection]
    revision: str | None = None
    native_window: int | None = None
    window: int | None = None
    extension: str | None = None

    def __post_init__(self) -> None:
        lift(self.model.config)
        if self.window is None:
            self.hold_to(window_of(self.model.config))

    def hold_to(self, window: int | None) -> None:
        """Let the model's own window be so many positions, and its rotary frequencies those for it (rotary.py)."""
        self.native_window = self.window = window
        settle(self.model, window)

    def run(self, input_ids: torch.Tensor, cache: Cache, held: torch.Tensor | None = None, **given: Any) -> Any:
        """Send ids (batch, time) through the model behind what the cache holds; `given` goes to its forward.

        `held` (batch or 1, slots): the positions of what the cache holds; None where they lead up to the ids' own.
        """
        if held is not None and self.attention == EXTENDED:
            given["held_positions"] = held
        spelling = "cache" if "cache" in inspect.signature(self.model.forward).parameters else "past_key_values"
        return self.model(input_ids=input_ids, use_cache=True, **{spelling: cache}, **given)  # renamed in 5.24

    @property
    def device(self) -> torch.device:
        """Where inputs go."""
        return self.model.get_input_embeddings().weight.device

    @property
    def key_value_heads(self) -> int:
        """Key-value heads of a layer, as the configuration states them."""
        return key_value_heads(self.model.config)

    @property
    def counts_back(self) -> bool:
        """Whether some attention counts its window back from the newest slot of a batch: GPT-Neo's local layers."""
        return "local" in getattr(self.model.config.get_text_config(decoder=True), "attention_layers", ())

    @property
    def takes_any_mask(self) -> bool:
        """Whether attention follows a given (query, key) mask and given positions: no ALiBi, no kernel of its own."""
        masked = self.attention in ("eager", "sdpa", BLOCKWISE, EXTENDED)
        return masked and self.takes_positions and not self.counts_back

    @property
    def reads_blockwise(self) -> bool:
        """Whether attention is this package's (attention.py), and keywords given to the model may come to it."""
        return self.hands_on and self.attention == BLOCKWISE

    @property
    def reads_far(self) -> bool:
        """Whether attention is an extension's (extension/delta_rotation.py), and keywords may come to it likewise."""
        return self.hands_on and self.attention == EXTENDED

    @property
    def attention(self) -> str:
        """The name of the function that computes attention, as transformers registers it."""
        return self.model.config.get_text_config(decoder=True)._attn_implementation

    @property
    def hands_on(self) -> bool:
        """Whether keywords given to the model may come to its attention."""
        parameters = inspect.signature(self.model.forward).parameters.values()
        return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)

    @property
    def takes_positions(self) -> bool:
        """Whether each token can be put at a position of its own: no ALiBi, which counts slots."""
        given = "position_ids" in inspect.signature(self.model.forward).parameters
        return given and not getattr(self.model.config.get_text_config(decoder=True), "alibi", False)

    @property
    def writes_scores(self) -> bool:
        """Whether attention puts all scores (heads, query, key) into memory: eager, as in MPT, GPT-J and Bloom."""
        return self.attention == "eager"

    @property
    def decoder_layers(self) -> list[nn.Module]:
        """The decoder layers that hold the output projections, in order, and any layers between them."""
        first = self.projections[0].name
        stack = re.match(r"(.*?)\.\d+\.", first)
        if stack is None:
            raise SealError(
                f"{self.name} keeps {first} outside a numbered stack of layers, so its layers can't be walked"
            )
        return list(self.model.get_submodule(stack.group(1)))

    def fingerprint(self) -> dict[str, Any]:
        """What tells this model from another: its kind, its shapes, and a few weights of each output projection."""
        return fingerprint(self.model.config, self.projections, lambda projection: projection.weight)


def key_value_heads(config: Any) -> int:
    """Key-value heads of a layer from a configuration, across the families' spellings."""
    text = config.get_text_config(decoder=True)
    if getattr(text, "multi_query", False) and not getattr(text, "new_decoder_architecture", False):
        return 1  # Falcon 7B, GPT-BigCode
    return stated((text, "num_key_value_heads"), (text, "num_kv_heads"), (text, "num_attention_heads"))


def window_of(config: Any) -> int | None:
    """Positions from a configuration: max_position_embeddings, or what MPT and its like call it."""
    text = config.get_text_config(decoder=True)
    for spelling in ("max_position_embeddings", "max_seq_len", "n_positions", "seq_length"):
        value = getattr(text, spelling, None)
        if isinstance(value, int) and value > 0:
            return value
    return None


def attention_linears(model: LoadedModel) -> list[str]:
    """Names of every linear inside the attention modules: the query, key, value and output projections."""
    names = []
    for projection in model.projections:
        parent = projection.name.rpartition(".")[0]
        children = model.model.get_submodule(parent).named_children()
        names += [f"{parent}.{child}" for child, module in children if input_features(module)]
    return names


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
