# SPDX-License-Identifier: Apache-2.0
"""A sliding window that never binds is none: nothing is forgotten, and the logits stay what they were."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig

import tiny
from seal_attention.shared_prefix import forgets
from seal_attention.sliding import lift


@torch.no_grad()
@pytest.mark.parametrize("family", ["mistral", "starcoder2"])
def test_logits_stay_and_nothing_is_forgotten(family: str) -> None:
    changes = {"sliding_window": 256, "max_position_embeddings": 256}
    as_stated = tiny.from_config({**tiny.FAMILIES[family], **changes}, torch.float64)
    loaded = tiny.load(family, torch.float64, **changes)
    assert (as_stated.config.sliding_window, loaded.model.config.sliding_window) == (256, None)
    assert not forgets(loaded)
    ids = torch.arange(40)[None] + 5
    torch.testing.assert_close(loaded.model(input_ids=ids).logits, as_stated(input_ids=ids).logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["mistral", "gemma3_text"])
def test_a_window_that_binds_or_tells_kinds_of_layers_stays(name: str) -> None:
    config = AutoConfig.for_model(**tiny.FAMILIES[name])
    before = config.to_dict()
    assert before["sliding_window"] < config.max_position_embeddings
    lift(config)
    assert config.to_dict() == before
    config.sliding_window = config.max_position_embeddings
    lift(config)
    assert (config.sliding_window is None) == (name == "mistral")
