# SPDX-License-Identifier: Apache-2.0
"""Queries or keys that a model has turned to their positions -> the same, turned on by any number of positions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Angles = tuple[torch.Tensor, torch.Tensor]  # cosines and sines, (rows, time, channels) each


@dataclass(frozen=True)
class Rotation:
    """How a model turns queries and keys: the module that makes angles, the function that applies them."""

    rotary: nn.Module
    own: Callable[..., Any]
    dtype: torch.dtype

    def angles(self, by: torch.Tensor) -> Angles:
        """Positions (rows, time), any whole numbers -> cosines and sines, as the family's function takes them."""
        cosines, sines = self._made(by)
        return cosines / self.scaling, sines / self.scaling

    @functools.cached_property
    def scaling(self) -> torch.Tensor:
        """What sharpens attention (YaRN, LongRoPE) and is in queries and keys already: the cosine of position 0."""
        start = torch.zeros(1, 1, dtype=torch.long, device=self.rotary.get_buffer("inv_freq").device)
        return self._made(start)[0][0, 0, 0]

    def _made(self, positions: torch.Tensor) -> Angles:
        return self.rotary(torch.empty(0, dtype=self.dtype, device=positions.device), position_ids=positions)

    def turned(self, tensor: torch.Tensor, angles: Angles) -> torch.Tensor:
        """(batch, heads, time, size) turned on by the angles, in the channels that the model turns."""
        channels = 2 * len(self.rotary.get_buffer("inv_freq"))
        turning, rest = tensor[..., :channels], tensor[..., channels:]
        done = self.own(turning, turning[:, :0], *angles)[0].to(tensor.dtype)
        return torch.cat((done, rest), -1) if rest.shape[-1] else done
