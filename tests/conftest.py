# SPDX-License-Identifier: Apache-2.0
"""Tests -> tiny models, nothing from the network, one thread: what every test file shares."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported

from pathlib import Path

import pytest
import tiny
import torch
from transformers import PreTrainedTokenizerFast

from seal_attention.models import LoadedModel
from seal_attention.prompts import Example


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny matrices are multiplied fastest by one thread."""
    torch.set_num_threads(1)


@pytest.fixture(params=tiny.FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Each family's name in turn."""
    return str(request.param)


@pytest.fixture
def family_model(family: str) -> LoadedModel:
    """The family's tiny model in float64, shared by all tests: only to be read."""
    return tiny.shared(family)


@pytest.fixture
def model() -> LoadedModel:
    """A tiny Llama in float32 of the test's own."""
    return tiny.load("llama")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama on disk with its tokenizer: only to be read."""
    return tiny.save("llama", tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """The tiny models' tokenizer."""
    return tiny.tokenizer()


@pytest.fixture
def example() -> Example:
    """One context, three ragged questions, six new tokens at most."""
    return tiny.example()
