# SPDX-License-Identifier: Apache-2.0
"""A decoder of any family -> where its attention heads leave through output projections, and what tells it from others.

Projections are found by structure and by what families call them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from .errors import UsageError

# What decoder families call the projection that mixes the heads' outputs, in the order of preference.
OUTPUT_PROJECTIONS = ("o_proj", "out_proj", "dense", "c_proj", "wo", "resid_out")
NOT_THE_DECODER = re.compile(r"vision|visual|audio|encoder|cross_?attn|crossattention|encdecattention", re.IGNORECASE)


@dataclass(frozen=True)
class OutputProjection:
    """The output projection of one attention layer; its input is `heads` head outputs of `head_size` channels."""

    name: str
    layer: int
    module: nn.Module
    heads: int
    head_size: int

    @property
    def channels(self) -> int:
        """Input features: heads * head_size."""
        return self.heads * self.head_size

    @property
    def weight(self) -> torch.Tensor:
        """The weight as (out, in), whatever the module's own layout; a view, so writing to it writes the model."""
        weight = self.module.weight
        assert isinstance(weight, torch.Tensor)
        return weight.t() if self.transposed else weight

    @property
    def transposed(self) -> bool:
        """Whether the module keeps its weight as (in, out), as GPT-2's Conv1D does."""
        return type(self.module).__name__ == "Conv1D"


def find_output_projections(model: PreTrainedModel, name: str) -> list[OutputProjection]:
    """Every attention output projection of the decoder, found by structure, with its heads and head size.

    Raises UsageError naming what was looked for where a model has none, or where the heads do not divide its input.
    """
    text = model.config.get_text_config(decoder=True)
    found: list[OutputProjection] = []
    for module_name, module in model.named_modules():
        if "attention" not in type(module).__name__.lower() or NOT_THE_DECODER.search(module_name):
            continue
        children = dict(module.named_children())
        child = next((c for c in OUTPUT_PROJECTIONS if c in children and input_features(children[c])), None)
        if child is None:
            continue
        channels = input_features(children[child])
        heads = stated((module, "num_heads"), (module, "num_attention_heads"), (text, "num_attention_heads"))
        full_name = f"{module_name}.{child}"
        if not heads or channels % heads:
            raise UsageError(
                f"{name}: {full_name} takes {channels} channels, which {heads} heads do not divide; "
                "this model is not supported"
            )
        number = re.search(r"\.(\d+)\.", f".{full_name}")
        layer = int(number.group(1)) if number else len(found)
        found.append(OutputProjection(full_name, layer, children[child], heads, channels // heads))
    if not found:
        raise UsageError(
            f"{name} ({type(model).__name__}) has no attention output projection that SEAL can scale: looked for a "
            f"linear {', '.join(OUTPUT_PROJECTIONS)} inside a module whose class is called ...Attention"
        )
    return sorted(found, key=lambda projection: projection.layer)


def input_features(module: nn.Module) -> int:
    """Input features of a linear-like module (dense, Conv1D, 4/8-bit, packed), or 0 for anything else."""
    return stated((module, "in_features"), (module, "nx"))


def stated(*places: tuple[Any, str]) -> int:
    """The first whole number that stands in one of the places (an object, an attribute's name), or 0."""
    values = (getattr(holder, spelling, None) for holder, spelling in places)
    return next((value for value in values if isinstance(value, int)), 0)


def fingerprint(
    config: Any, projections: list[OutputProjection], weight_of: Callable[[OutputProjection], torch.Tensor]
) -> dict[str, Any]:
    """Kind, shapes and eight weights of each output projection (none of them for packed weights).

    `weight_of` gives a projection's weight as (out, in): from the loaded model, or from a file.
    """
    weights: list[float] = []
    for projection in projections:
        weight = weight_of(projection)
        if weight.is_floating_point() and weight.ndim == 2:
            rows, columns = weight.shape
            places = [(k * rows // 8, (k * 37 + 5) % columns) for k in range(8)]
            weights += [float(weight[row, column]) for row, column in places]
    return {
        "type": config.get_text_config(decoder=True).model_type,
        "layers": len(projections),
        "shapes": sorted({(p.heads, p.head_size) for p in projections}),
        "weights": weights,
    }


def same_fingerprint(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two fingerprints are of one model: equal shapes, and weights within what a change of dtype rounds.

    The relative distance of the weights must stay under 2 %: bfloat16 rounds by .2 %, a merge or another training
    moves them by more.
    """
    if any(first[key] != second[key] for key in ("type", "layers")):
        return False
    if [tuple(shape) for shape in first["shapes"]] != [tuple(shape) for shape in second["shapes"]]:
        return False
    a, b = first["weights"], second["weights"]
    if not a or not b:
        return True
    distance = math.dist(a, b) / max(math.hypot(*a), 1e-12) if len(a) == len(b) else math.inf
    return distance < 0.02
