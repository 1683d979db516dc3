# SPDX-License-Identifier: Apache-2.0
"""A cache and one more token -> which positions each query head attends to from it: single rows, never a whole map.

Only the row asked for goes through eager attention, which is what writes weights down; the cache before it came from
the model's ordinary attention. A row is (heads, length): memory grows with the length, not its square.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from transformers import Cache

from ..attention import EXTENDED
from ..embedded import quiet_transformers
from ..errors import UsageError
from ..models import LoadedModel


@contextlib.contextmanager
def eager(model: LoadedModel) -> Iterator[None]:
    """The model with eager attention until the context ends.

    UsageError for a family that can't change its own, and where the window is extended in the attention itself, which
    eager attention knows nothing of.
    """
    config = model.model.config.get_text_config(decoder=True)
    usual = config._attn_implementation
    if usual == EXTENDED:
        raise UsageError(
            f"attention weights can't be read under --extend {model.extension}, which is in the attention itself; "
            "leave it out, or take a rotary scaling such as ntk:4"
        )
    with quiet_transformers():
        model.model.set_attn_implementation("eager")
    try:
        if config._attn_implementation != "eager":
            raise UsageError(
                f"{model.name} can't change its attention ({usual}) while it is loaded, so no weights can be read; add "
                "--attention eager"
            )
        yield
    finally:
        with quiet_transformers():
            model.model.set_attn_implementation(usual)


@torch.no_grad()
def attention_rows(model: LoadedModel, token: int, cache: Cache) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Run one token behind the cache (which takes it in), inside `eager`.

    The logits (vocabulary,) that follow it, and for each attention layer, from the first up, the weights that each
    query head gave to every position so far: (heads, positions). Positions outside a sliding window have weight 0; a
    learnt sink (gpt-oss) takes a share that no position gets. UsageError where a layer gives no weights.
    """
    output = model.run(torch.tensor([[token]], device=model.device), cache, output_attentions=True, logits_to_keep=1)
    weights = [layer for layer in output.attentions or () if layer is not None]
    if len(weights) != len(model.projections):
        raise UsageError(
            f"{model.name} tells the attention weights of {len(weights)} of its {len(model.projections)} layers; "
            "attention can't be read in this model"
        )
    return output.logits[0, -1], [_whole(layer[0, :, -1], cache.get_seq_length()) for layer in weights]


def _whole(row: torch.Tensor, positions: int) -> torch.Tensor:
    """A row over the newest positions -> over all of them, those that a sliding layer has let go with weight 0."""
    return torch.nn.functional.pad(row, (positions - row.shape[-1], 0))
