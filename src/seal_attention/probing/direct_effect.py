# SPDX-License-Identifier: Apache-2.0
"""The parts of a residual stream and chosen tokens -> what each head and MLP adds to the tokens' logits.

The direct effect of a part f on a token is W_token . f, with W the vocabulary's matrix (paper, section 5, which leaves
the final norm out). The final norm multiplies channels by gains of either sign, so that without it effects may change
sign and order and do not add up; with the norm's statistics frozen at the real stream they add up to the model's logit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..errors import UsageError
from ..models import LoadedModel
from .frozen_norm import nothing, rounding
from .residual_parts import Parts

NORMS = ("frozen", "none")
SUMS = 1e-4  # relative: how far the effects of a float32 model may add up from its logit


@dataclass(frozen=True)
class Effects:
    """Direct effects on some tokens' logits, float64: `heads` (tokens, layers, heads), `attention_biases` and `mlps`
    (tokens, layers), `embedding` and `rest` (tokens,), the last of them the biases of final norm and vocabulary.

    `logits` (tokens,) are the model's own, before a soft cap where it has one (`capped`; Gemma 2's is no sum).
    """

    heads: torch.Tensor
    attention_biases: torch.Tensor
    mlps: torch.Tensor
    embedding: torch.Tensor
    rest: torch.Tensor
    logits: torch.Tensor
    capped: bool

    @property
    def total(self) -> torch.Tensor:
        """The sum of everything, (tokens,): with the norm frozen the logits."""
        layers = self.heads.sum(-1) + self.attention_biases + self.mlps
        return layers.sum(-1) + self.embedding + self.rest


def require_norm(norm: str) -> None:
    """UsageError for a `norm` that there is not."""
    if norm not in NORMS:
        raise UsageError(f"--norm takes {' or '.join(NORMS)}, not {norm!r}")


def direct_effects(model: LoadedModel, parts: Parts, tokens: Sequence[int], norm: str = "frozen") -> Effects:
    """The effects of each part on the logits of `tokens`, with the final norm `frozen`, or `none` as in the paper.

    With `none` a scaling of the logits (Cohere's, Granite's) is left out too, and there is no rest. UsageError for
    another `norm`, and where frozen effects do not add up to the model's logits.
    """
    require_norm(norm)
    chosen = torch.tensor(list(tokens), device=model.device)
    vocabulary = model.model.get_output_embeddings()
    rows = vocabulary.weight[chosen].double().cpu()  # (tokens, hidden)
    frozen = norm == "frozen"
    factor, capped = _scaling(parts, model.model.dtype)
    map_ = parts.norm if frozen else nothing(len(parts.embedding))
    weights = rows * (factor if frozen else 1.0)

    def of(several: torch.Tensor) -> torch.Tensor:
        """(..., hidden) -> (tokens, ...)."""
        return (map_.of_parts(several) @ weights.T).movedim(-1, 0)

    bias = getattr(vocabulary, "bias", None)
    rest = weights @ map_.bias
    if frozen and bias is not None:
        rest = rest + factor * bias[chosen].double().cpu()
    effects = Effects(
        heads=of(parts.heads),
        attention_biases=of(parts.attention_biases),
        mlps=of(parts.mlps),
        embedding=of(parts.embedding),
        rest=rest,
        logits=(factor * parts.raw)[chosen.cpu()],
        capped=capped,
    )
    if frozen:
        _require_sum(model, effects)
    return effects


def _scaling(parts: Parts, dtype: torch.dtype) -> tuple[float, bool]:
    """What the model multiplies its logits by, and whether it bends them instead (then 1: effects are those before)."""
    factor = float((parts.logits @ parts.raw) / (parts.raw @ parts.raw))
    bent = float((parts.logits - factor * parts.raw).norm()) > rounding(dtype) * float(parts.logits.norm())
    return (1.0, True) if bent else (factor, False)


def _require_sum(model: LoadedModel, effects: Effects) -> None:
    size = effects.heads.abs().sum((1, 2)) + effects.mlps.abs().sum(1) + effects.logits.abs()
    allowed = max(SUMS, rounding(model.model.dtype) / 8) * size
    gap = (effects.total - effects.logits).abs()
    if not bool((gap <= allowed).all()):
        worst = int((gap / allowed).argmax())
        raise UsageError(
            f"the direct effects in {model.name} add up to {float(effects.total[worst]):.4f}, not to the logit "
            f"{float(effects.logits[worst]):.4f}: something stands between the parts and the vocabulary; use --norm "
            "none"
        )
