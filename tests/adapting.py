# SPDX-License-Identifier: Apache-2.0
"""A model -> an adapter of drawn scales, and what the model says with or without it."""

from __future__ import annotations

import torch

from seal_attention.adapters import Scales
from seal_attention.models import LoadedModel


def randomised(method: str, model: LoadedModel, seed: int = 0) -> Scales:
    """An adapter whose scales are drawn around 1."""
    scales = Scales(method, model.projections)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in scales.values.values():
            value.add_(0.5 * torch.randn(value.shape, generator=generator))
    return scales


def logits(model: LoadedModel) -> torch.Tensor:
    """What the model says to seven fixed tokens."""
    with torch.no_grad():
        return model.model(input_ids=torch.tensor([[5, 9, 30, 7, 61, 200, 11]])).logits
