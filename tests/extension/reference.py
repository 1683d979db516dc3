# SPDX-License-Identifier: Apache-2.0
"""The extension methods once more, as their authors write them: un-rotated keys, full score matrices, one prompt.

Slow and plain, to be compared with. The family's rotary module is made to leave queries and keys alone; attention then
turns them to the positions that a method wants, once for each of its score matrices.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AttentionInterface

from seal_attention.models import LoadedModel

Turn = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Scores = Callable[[Turn, torch.Tensor, torch.Tensor], torch.Tensor]


def self_extend(group: int, window: int) -> Scores:
    """LongLM: two score matrices, the grouped one where keys are `window` or further back."""

    def scores(turn: Turn, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        place = torch.arange(query.shape[2])
        near = turn(query, place) @ turn(key, place).mT
        grouped = turn(query, place // group + window - window // group) @ turn(key, place // group).mT
        return torch.where(place[:, None] - place < window, near, grouped)

    return scores


def dual_chunk(native_window: int) -> Scores:
    """ChunkLlama: keys at their place in a chunk; of a chunk of queries its own keys, the chunk before, the rest."""
    size = native_window * 3 // 4
    length = size - native_window // 8

    def scores(turn: Turn, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        place = torch.arange(query.shape[2])
        keys = turn(key, place % length)
        rows = []
        for start in range(0, query.shape[2], length):
            own, at = query[:, :, start : start + length], place[start : start + length] % length
            before, ancient = max(0, start - length), torch.full_like(at, min(2 * length - 1, size))
            inter = turn(own, ancient) @ keys[:, :, :before].mT
            successive = turn(own, (at + length).clamp(max=size)) @ keys[:, :, before:start].mT
            intra = turn(own, at) @ keys[:, :, start:].mT
            rows.append(torch.cat((inter, successive, intra), -1))
        return torch.cat(rows, 2)

    return scores


def attend_by(model: LoadedModel, scores_of: Scores, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    """The model with attention by these scores, for one prompt at a time."""
    rotary = model.model.get_decoder().rotary_emb
    angles = rotary.forward

    def leave_alone(like: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, ...]:
        cosines, sines = angles(like, position_ids=position_ids)
        return torch.ones_like(cosines), torch.zeros_like(sines)

    def attention(
        module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any, **given: Any
    ) -> tuple[torch.Tensor, None]:
        own = sys.modules[type(module).__module__].apply_rotary_pos_emb

        def turn(tensor: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
            cosines, sines = angles(tensor, position_ids=positions[None])
            channels = cosines.shape[-1]
            turned = own(tensor[..., :channels], tensor[..., :channels], cosines, sines)[0]
            return torch.cat((turned, tensor[..., channels:]), -1)

        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = scores_of(turn, query, key) * given["scaling"]
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        weights = torch.softmax(scores.masked_fill(future, -torch.inf), -1)
        return (weights @ value).transpose(1, 2), None

    monkeypatch.setattr(rotary, "forward", leave_alone)
    AttentionInterface.register("reference", attention)
    model.model.set_attn_implementation("reference")
    return model
