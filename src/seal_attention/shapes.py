# SPDX-License-Identifier: Apache-2.0
"""A model -> the sizes that its memory and its time depend on, and what a layer keeps of a token.

docs/memory.md holds the formula against measurements. A model without its weights has them as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .models import LoadedModel

FLOAT32 = 4  # bytes: the attention's log-sums and the loss are computed in it whatever the weights are


@dataclass(frozen=True)
class Shapes:
    """What memory and time depend on: all `parameters`, those that one token meets in the layers, those of the output
    `embeddings`; `item` bytes a number.

    `host` where host and device share one memory and one allocator, as on a CPU.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_size: int
    vocabulary: int
    parameters: int
    parameters_a_token: int
    embeddings: int
    item: int
    host: bool = True

    @classmethod
    def of(cls, model: LoadedModel, dtype: torch.dtype, device: torch.device) -> Shapes:
        """The shapes of a loaded or weightless model."""
        text: Any = model.model.config.get_text_config(decoder=True)
        embeddings = model.model.get_input_embeddings().weight
        first = model.projections[0]
        intermediate = getattr(text, "intermediate_size", None) or 4 * text.hidden_size
        return cls(
            len(model.projections),
            text.hidden_size,
            intermediate,
            first.heads,
            model.key_value_heads,
            first.head_size,
            embeddings.shape[0],
            sum(parameter.numel() for parameter in model.model.parameters()),
            model.parameters_a_token,
            embeddings.numel(),
            torch.finfo(dtype).bits // 8,
            device.type == "cpu",
        )

    def layer(self, tokens: int, far: int = 0, lean: bool = True) -> int:
        """Bytes that one layer keeps for its backward pass; the weights are frozen, so that no linear's input.

        Two norms' inputs (saved_tensors.py); the gated MLP's gate, its activation and what it multiplies; of the
        attention queries, output, keys, values and a log-sum a head. Past the window also the queries as they are
        turned for `far` keys, so many times, and those keys. Where the graph is not `lean`, norms' inputs are float32,
        and on a CPU temporaries leave holes.
        """
        norms = 2 * (self.item if lean else max(self.item, FLOAT32)) * self.hidden
        holes = 2 * FLOAT32 * self.hidden + self.item * self.intermediate if self.host and not lean else 0
        perceptron = 3 * self.item * self.intermediate
        attention = self.item * self.head_size * 2 * (self.heads + self.key_value_heads) + FLOAT32 * self.heads
        turned = self.item * self.head_size * (far * self.heads + bool(far) * self.key_value_heads)
        return tokens * (norms + perceptron + attention + turned + holes)

    @property
    def weights(self) -> int:
        """Bytes of all parameters."""
        return self.parameters * self.item

    @property
    def layer_gradients(self) -> int:
        """Bytes a token of the gradients that one layer's backward pass holds at once: in the gated MLP."""
        return self.item * (3 * self.intermediate + 2 * self.hidden)

    @property
    def cache(self) -> int:
        """Bytes a token of keys and values in all layers."""
        return 2 * self.layers * self.key_value_heads * self.head_size * self.item

    @property
    def repeated(self) -> int:
        """Bytes a token of keys and values repeated for each query head, as masked attention keeps them on a GPU."""
        if self.host or self.heads == self.key_value_heads:  # blockwise.py copies nothing
            return 0
        return 2 * self.layers * self.heads * self.head_size * self.item
