# SPDX-License-Identifier: Apache-2.0
"""A process -> its memory above the loaded weights; a length in tokens -> the contexts that every side is given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from seal_attention import adapters, loading
from seal_attention.devices import peak_memory
from seal_attention.models import LoadedModel
from seal_attention.prompts import Encoder, Example
from seal_attention.tasks.lines import Lines
from seal_attention.tasks.sizing import fitted, of_length

FORGET_PEAK = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Loaded:
    """The model, warmed up, and what the process held at that moment."""

    model: LoadedModel
    encoder: Encoder
    resident_bytes: int

    def memory_above_weights(self) -> int:
        """Bytes between the process right after loading and its peak since."""
        return max(0, peak_memory(self.model.device) - self.resident_bytes)


def load_model() -> Loaded:
    """The embedded model on the CPU, each weight read once: a file that is only mapped would count later."""
    model = loading.load(device="cpu")
    with torch.no_grad():
        model.model(input_ids=torch.tensor([[0, 1, 2, 3]]))
    forget_peak()
    return Loaded(model, Encoder(model.tokenizer, model.window), psutil.Process().memory_info().rss)


def forget_peak() -> None:
    """Let the peak start anew from what the process holds now, where the system allows it."""
    with contextlib.suppress(OSError):
        FORGET_PEAK.write_text("5")


def contexts(encoder: Encoder, length: int, questions: int, count: int) -> list[Example]:
    """Line records for tuning, as long as `--length` would make them."""
    task = of_length(Lines(questions, questions), length, questions, encoder.budget, tuning=True)
    return [encoder.encode(fitted(task, encoder.budget, 0, "train", index)) for index in range(count)]


def warm_up(encoder: Encoder) -> Example:
    """A record of two lines: each side takes a step on it before it is timed."""
    return encoder.encode(Lines(2, 2).sample(0, "train", 0))


@contextlib.contextmanager
def tuned(model: LoadedModel, folder: str) -> Iterator[None]:
    """The model with the adapter of the folder at work."""
    with adapters.load(Path(folder), model).attached(model):
        yield
