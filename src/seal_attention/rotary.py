# SPDX-License-Identifier: Apache-2.0
"""A model and its window -> LongRoPE's factors chosen once for that window, the same for every prompt.

LongRoPE (Ding et al., 2024, arXiv 2402.13753; Phi-3 and Phi-4) has two sets of rotary frequencies: short ones for
prompts within the original window, long ones beyond. transformers chooses at each forward, by the last position that
it sees, and leaves cached keys as they were turned: what a prompt says would depend on how it was read, in one piece,
in several or behind a shared prefix. vLLM fixes the set by the window that it serves, and so does this.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

from transformers import PreTrainedModel

ROPE_TYPE = "longrope"
Regime = Literal["short", "long"]


def settle(model: PreTrainedModel, window: int | None) -> None:
    """Build the decoder's rotary embeddings anew with the factors that `window` positions ask for, long where unknown.

    They get a configuration of their own in which both sets are that one; the model's own still has both, so another
    window may settle it again. Models without LongRoPE are left alone.
    """
    config = model.config.get_text_config(decoder=True)
    regime = regime_of(model.config, window)
    if regime is None:
        return
    settled = copy.deepcopy(config)
    for parameters in _longrope_parameters(settled):
        for kept in ("factor", "mscale"):  # the latter in Phi-3.5-MoE alone: how much each set sharpens attention
            if f"{regime}_{kept}" in parameters:
                parameters |= dict.fromkeys((f"short_{kept}", f"long_{kept}"), parameters[f"{regime}_{kept}"])
    decoder = model.get_decoder()
    for name, module in list(decoder.named_modules()):
        if hasattr(module, "rope_type"):
            device = next(module.buffers()).device
            decoder.set_submodule(name, type(module)(config=settled).to(device))


def regime_of(config: Any, window: int | None) -> Regime | None:
    """Which factors a model of this configuration takes for `window` positions; None where it has no LongRoPE."""
    found = _longrope_parameters(config.get_text_config(decoder=True))
    if not found:
        return None
    original = found[0]["original_max_position_embeddings"]
    return "short" if window is not None and window <= original else "long"


def _longrope_parameters(config: Any) -> list[dict[str, Any]]:
    """The rope parameters of type longrope: of all layers, or of each kind of layer that has them."""
    parameters = getattr(config, "rope_parameters", None)
    if not parameters:
        return []
    kinds = config.nested_rope_parameter_keys(parameters)
    held = [parameters[kind] for kind in kinds] if kinds else [parameters]
    return [each for each in held if each and each.get("rope_type") == ROPE_TYPE]
