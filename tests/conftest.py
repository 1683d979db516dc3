# SPDX-License-Identifier: Apache-2.0
"""Tests -> tiny models, nothing from the network, one thread: what every test file shares."""

from __future__ import annotations

import os

# Before torch and transformers are imported, and for the processes that tests start too. One thread: it is the fastest
# for tiny matrices, and the number of threads changes the order of sums and with it the last digits.
os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# What needs torch is imported where it is used: the process that only hands out the tests does without it.
if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from seal_attention.models import LoadedModel
    from seal_attention.prompts import Example


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each family's name in turn for a test that asks for `family` and chooses none itself."""
    chosen = {name for mark in metafunc.definition.iter_markers("parametrize") for name in _names(mark.args[0])}
    if "family" in metafunc.fixturenames and "family" not in chosen:
        import tiny

        metafunc.parametrize("family", list(tiny.FAMILIES))


def _names(given: str | tuple[str, ...]) -> list[str]:
    """The argument names of a parametrize mark."""
    return [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)


@pytest.fixture
def family_model(family: str) -> LoadedModel:
    """The family's tiny model in float64, shared by all tests: only to be read."""
    import tiny

    return tiny.shared(family)


@pytest.fixture
def model() -> LoadedModel:
    """A tiny Llama in float32 of the test's own."""
    import tiny

    return tiny.load("llama")


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama on disk with its tokenizer: only to be read."""
    import tiny

    return tiny.save("llama", tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """The tiny models' tokenizer."""
    import tiny

    return tiny.tokenizer()


@pytest.fixture
def example() -> Example:
    """One context, three ragged questions, six new tokens at most."""
    import tiny

    return tiny.example()
