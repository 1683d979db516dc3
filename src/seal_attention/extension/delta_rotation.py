# SPDX-License-Identifier: Apache-2.0
"""A model and a rule for far keys -> the same model, its attention reading far keys at the positions of the rule.

Rotations compose: a query or key that the model has turned to its own position is turned on, by the difference, to the
one that the rule gives it. So the cache holds the ordinary keys, scaling of the frequencies stays in force, and no
forward is copied and no class patched: what the model offers for it, a registered attention function, does it all.
Before each forward a hook says where its queries and keys stand.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache, PreTrainedModel

from .. import attention
from ..attention import EXTENDED, blockwise_mask
from ..embedded import quiet_transformers
from ..errors import UsageError
from ..models import LoadedModel
from ..streamed_blocks import StreamedAttention, block_queries, worth_streaming
from .far_rows import FarRows
from .pieces import Layout, Rule
from .piecewise import PiecewiseAttention, blocks_for
from .turning import Angles, Rotation

CHANGING = "dynamic"  # transformers' rope type whose frequencies depend on the length read (LongRoPE's: rotary.py)
UNREAD = ("softcap", "s_aux", "position_bias")  # what some families add to their scores, and this attention does not
PROBE = 37  # positions by which apply's check moves a few tokens


def extend(model: LoadedModel, rule: Rule, method: str) -> LoadedModel:
    """Let the model's attention follow the rule from now on; the same model, changed. `method` names it in errors.

    UsageError where that can't be: positions that are not rotary or change with the length, layers with a sliding
    window, attention of the family's own making; and where a trial shows that turning its keys on does not give what
    the model itself computes at the further position.
    """
    decoder = model.model.get_decoder()
    dtype = torch.promote_types(model.model.dtype, torch.float32)
    rotation = Rotation(_rotary(model, decoder, method), _own_turning(model, method), dtype)
    before = decoder.config._attn_implementation
    AttentionInterface.register(EXTENDED, attention_forward)
    AttentionMaskInterface.register(EXTENDED, blockwise_mask)
    with quiet_transformers():
        decoder.set_attn_implementation(EXTENDED)
    if decoder.config._attn_implementation != EXTENDED:
        raise UsageError(
            f"{model.name} computes attention in code of its own, where {method} can't reach; scale its rotary "
            "positions instead, if it has any, as in --extend ntk:4"
        )
    handle = decoder.register_forward_pre_hook(functools.partial(_hand_in, rule, rotation), with_kwargs=True)
    try:
        _try_out(model, rotation, method)
    except UsageError:
        handle.remove()
        decoder.set_attn_implementation(before)
        raise
    return model


def _rotary(model: LoadedModel, decoder: PreTrainedModel, method: str) -> nn.Module:
    """The module that turns positions into angles."""
    if decoder.config._attn_implementation == EXTENDED:
        raise UsageError(f"{model.name} is extended already, and {method} can't stand on top of that; give one of them")
    if any(getattr(layer, "is_sliding", False) for layer in DynamicCache(config=model.model.config).layers):
        raise UsageError(
            f"{model.name} has layers that see a sliding window alone, for which {method} means nothing; scale its "
            "rotary positions instead, as in --extend ntk:4"
        )
    rotary = next((module for module in decoder.modules() if hasattr(module, "inv_freq")), None)
    if rotary is None or getattr(decoder.config, "alibi", False):
        raise UsageError(
            f"{model.name} has no rotary positions of one kind for all layers (they are learnt, ALiBi, or otherwise "
            f"made), which {method} is about; leave --extend out"
        )
    if getattr(rotary, "rope_type", "default") == CHANGING:
        raise UsageError(
            f"{model.name} has {CHANGING} rotary positions, whose frequencies change with the length, so {method} "
            "can't turn them on; leave --extend out, or load it with another rope_type"
        )
    return rotary


def _own_turning(model: LoadedModel, method: str) -> Callable[..., Any]:
    """The function by which the family applies angles to queries and keys: every layout of the channels has its own."""
    layer = model.model.get_submodule(model.projections[0].name.rpartition(".")[0])
    own = getattr(sys.modules[type(layer).__module__], "apply_rotary_pos_emb", None)
    if own is None:
        raise UsageError(
            f"{model.name} turns its queries and keys in a way of its own (no apply_rotary_pos_emb beside "
            f"{type(layer).__name__}), which {method} can't follow; leave --extend out"
        )
    return own


@torch.no_grad()
def _try_out(model: LoadedModel, rotation: Rotation, method: str) -> None:
    """Keys of the first layer that keeps some, turned on from 0, 1, ..., must be those the model makes PROBE later."""
    ids = torch.arange(4, device=model.device)[None]
    keys = []
    for start in (0, PROBE):
        cache = DynamicCache(config=model.model.config)
        model.run(ids, cache, position_ids=torch.arange(4, device=model.device)[None] + start, logits_to_keep=1)
        keys.append(next(layer.keys for layer in cache.layers if getattr(layer, "keys", None) is not None))
    by = torch.full((1, 4), PROBE, device=keys[0].device)
    distance = (rotation.turned(keys[0], rotation.angles(by)) - keys[1]).norm() / keys[1].norm()
    if not distance < 0.05:  # bfloat16 rounds by less than a hundredth
        raise UsageError(
            f"{model.name} changes its keys after turning them, or turns other channels than expected (turned on by "
            f"{PROBE} positions they miss the model's own by {float(distance):.0%}), so {method} can't work; leave "
            "--extend out"
        )


class _Placed:
    """Where the queries and keys of one forward stand, and what follows from it for all layers."""

    def __init__(self, rule: Rule, rotation: Rotation, queries: torch.Tensor, keys: torch.Tensor) -> None:
        """Positions (rows or 1, queries) and (rows or 1, slots)."""
        self.rule, self.rotation = rule, rotation
        self.queries, self.keys = _once(queries), _once(keys)
        self.layouts = {causal: Layout(rule, self.queries, self.keys, causal) for causal in (True, False)}
        self.key_angles: dict[int, Angles] = {}  # of the first so many slots

    @functools.cached_property
    def near(self) -> bool:
        """Whether everything is near, so that attention is the model's own."""
        return self.layouts[True].near

    @functools.cached_property
    def query_angles(self) -> list[Angles]:
        """By which queries are turned on for each far part."""
        return [self.rotation.angles(far - self.queries) for far in self.rule.far_queries(self.queries)]

    def attention(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scale: float
    ) -> torch.Tensor:
        """(batch, heads, queries, value_size)."""
        layout = self.layouts[mask is None]
        streamed = worth_streaming(query, key, mask)
        rows = block_queries(query, key)
        blocks = layout.blocks(rows) if streamed else blocks_for(layout, query, key)
        far = [piece.run.stop for block in blocks for piece in block.pieces if piece.part]
        stop = max(far, default=0)
        if stop not in self.key_angles:
            held = _once(self.keys[:, :stop])
            self.key_angles[stop] = self.rotation.angles(self.rule.far_keys(held) - held)
        far_key = self.rotation.turned(key[:, :, :stop], self.key_angles[stop])
        far_queries = [self.rotation.turned(query, angles) for angles in self.query_angles]
        if streamed:
            return StreamedAttention.apply(
                layout.readings(rows, mask, key.dtype), scale, value, 2, key, far_key, query, *far_queries
            )
        return PiecewiseAttention.apply(layout, mask, scale, value, key, far_key, query, *far_queries)


def _once(positions: torch.Tensor) -> torch.Tensor:
    """One row for all where the rows are equal."""
    return positions[:1] if bool((positions == positions[:1]).all()) else positions


def _hand_in(
    rule: Rule, rotation: Rotation, _decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Before a forward of the decoder: tell its attention layers where queries and keys stand.

    `held_positions` (models.LoadedModel.run) are those of what the cache holds. Without them the keys' positions are
    taken to lead up to the last query's one by one, as in transformers' own generation. `prefix_rows` know themselves.
    """
    rows = kwargs.get("prefix_rows")
    if rows is not None:
        return args, {**kwargs, "placed": FarRows(rule, rotation, rows)}
    ids, embeddings, positions = kwargs.get("input_ids"), kwargs.get("inputs_embeds"), kwargs.get("position_ids")
    given = ids if ids is not None else embeddings if embeddings is not None else args[0]
    cache = kwargs.get("cache", kwargs.get("past_key_values"))
    if cache is not None and cache.is_compileable:
        raise UsageError(
            f"an extended window needs a cache that grows, not a {type(cache).__name__}, whose slots are there before "
            "they are filled; leave cache_implementation out"
        )
    slots = given.shape[1] + (0 if cache is None else cache.get_seq_length())
    if positions is None:
        positions = torch.arange(slots - given.shape[1], slots, device=given.device)[None]
    held = kwargs.pop("held_positions", None)
    if held is not None:
        rows = max(len(held), len(positions))
        keys = torch.cat((held.expand(rows, -1), positions.expand(rows, -1)), 1)
    elif slots == positions.shape[1]:
        keys = positions
    else:
        keys = positions[:, -1:] + torch.arange(1 - slots, 1, device=given.device)
    return args, {**kwargs, "placed": _Placed(rule, rotation, positions, keys)}


def attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    placed: _Placed | FarRows | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """What transformers calls: (batch, heads, time, head_size) each -> (batch, time, heads, head_size).

    While everything is near this is the attention that the model has without an extension.
    """
    unread = [name for name in UNREAD if kwargs.get(name) is not None] + ["dropout"] * bool(dropout)
    if placed is None or unread:
        raise UsageError(
            f"{type(module).__name__} {'asks for ' + unread[0] if unread else 'is told no positions'}, which attention "
            "past the window can't do; leave --extend out"
        )
    if placed.near:
        return attention.attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if isinstance(placed, FarRows):
        return placed.rows.attend(query, key, value, scale, placed.keys), None
    return placed.attention(query, key, value, attention_mask, scale).transpose(1, 2), None
