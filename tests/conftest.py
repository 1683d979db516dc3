# SPDX-License-Identifier: Apache-2.0
"""Tests -> tiny models, nothing from the network, one thread: what every test file shares."""

from __future__ import annotations

import os

# Before torch and transformers are imported, and for the processes that tests start too. One thread: it is the fastest
# for tiny matrices, and the number of threads changes the order of sums and with it the last digits.
os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

import tiny
from seal_attention.models import LoadedModel
from seal_attention.prompts import Example


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
