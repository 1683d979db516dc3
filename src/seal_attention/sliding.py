# SPDX-License-Identifier: Apache-2.0
"""A model's configuration -> the same without a sliding window that can never bind.

Phi-3 with 128k and Phi-4-mini state a sliding window of 262,144 positions, twice what they read. Taken at its word it
would forbid all that layers with a sliding window can't do: questions in one row over a shared prefix, a prefix cut
short, attention past the window.
"""

from __future__ import annotations

from transformers import PretrainedConfig

SLIDING, FULL = "sliding_attention", "full_attention"


def lift(config: PretrainedConfig) -> None:
    """Let every layer see all of its prompt where the sliding window is no shorter than what the model reads.

    Configurations with layers of two kinds are left alone: which kind a layer is says more than how far it sees.
    """
    text = config.get_text_config(decoder=True)
    sliding, positions = getattr(text, "sliding_window", None), getattr(text, "max_position_embeddings", None)
    kinds = getattr(text, "layer_types", None)
    if sliding is None or positions is None or sliding < positions or (kinds and set(kinds) != {SLIDING}):
        return
    text.sliding_window = None
    if kinds:
        text.layer_types = [FULL] * len(kinds)
