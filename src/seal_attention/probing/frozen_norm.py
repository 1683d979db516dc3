# SPDX-License-Identifier: Apache-2.0
"""A norm and the vector it was given -> the linear map it is while the vector's statistics stay as they are.

With its mean and variance held fixed a norm treats every part of a sum alike, so that what it makes of the parts adds
up to what it makes of the whole. The map is read off the module by trying it: its gain and bias are what it does to a
vector of known statistics. So RMSNorm, LayerNorm, gains written as 1 + weight and norms without weights need no names.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

ROUNDINGS = 64  # within so many of them, relative to the vectors, two vectors count as equal


@dataclass(frozen=True)
class FrozenNorm:
    """`gain` and `bias` are (hidden,), float64, the statistics already in the gain; `centred` where it takes the mean
    off (LayerNorm)."""

    gain: torch.Tensor
    bias: torch.Tensor
    centred: bool

    @classmethod
    def read(cls, norm: nn.Module, given: torch.Tensor, output: torch.Tensor) -> FrozenNorm | None:
        """The map that took `given` to `output`, each (hidden,) and as the model computed them; None if it is none.

        The gain but for one factor is what the norm does to +1, -1, +1, ...; the factor is what fits the output.
        """
        signs = torch.ones_like(given)
        signs[1::2] = -1
        bias, tried = (norm(probe[None, None])[0, 0].double().cpu() for probe in (torch.zeros_like(given), signs))
        gain = (tried - bias) * signs.double().cpu()
        x, y = given.double().cpu(), output.double().cpu() - bias
        allowed = rounding(given.dtype) * float(y.norm())
        for centred in (False, True):
            shaped = gain * (x - x.mean() if centred else x)
            factor = shaped @ y / (shaped @ shaped)
            if float((factor * shaped - y).norm()) <= allowed:
                return cls(factor * gain, bias, centred)
        return None

    def of_parts(self, parts: torch.Tensor) -> torch.Tensor:
        """What the norm makes of parts of its input, (..., hidden); the bias, which belongs to none, left out."""
        return self.gain * (parts - parts.mean(-1, keepdim=True) if self.centred else parts)


def rounding(dtype: torch.dtype) -> float:
    """The relative difference at which two vectors of a model of that dtype count as equal.

    Most families compute their norms in float32 whatever the model is in.
    """
    return ROUNDINGS * max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)


def nothing(size: int) -> FrozenNorm:
    """The map of no norm at all."""
    return FrozenNorm(torch.ones(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64), centred=False)
