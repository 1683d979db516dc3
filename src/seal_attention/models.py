# SPDX-License-Identifier: Apache-2.0
"""A causal language model and its tokenizer -> one object that says what they are made of and what they can do.

Heads, window, where attention happens and what may be given to it, across the families' spellings. loading.py makes it.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import Cache, PreTrainedModel, PreTrainedTokenizerBase

from .attention import BLOCKWISE, EXTENDED
from .errors import SealError
from .projections import OutputProjection, fingerprint, input_features, stated
from .rotary import settle
from .sliding import lift

EXPERTS = re.compile(r"\.experts\.\D")  # weights of all experts of a layer in one tensor, (experts, ...)


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
    def parameters_a_token(self) -> int:
        """Parameters that a token is multiplied with on its way through the layers: not the embeddings, and of a
        layer's experts as many as it is sent to."""
        sent_to = getattr(self.model.config.get_text_config(decoder=True), "num_experts_per_tok", None)
        both = (self.model.get_input_embeddings(), self.model.get_output_embeddings())
        embeddings = {module.weight for module in both if module is not None}
        inner = ((name, weight) for name, weight in self.model.named_parameters() if weight not in embeddings)
        return sum(
            weight.numel() // len(weight) * sent_to if sent_to and EXPERTS.search(name) else weight.numel()
            for name, weight in inner
        )

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
