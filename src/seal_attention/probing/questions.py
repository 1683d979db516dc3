# SPDX-License-Identifier: Apache-2.0
"""Examples and the records of a run -> the questions still to be looked at, example by example, and what that costs."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..adapters import Adapter
from ..models import LoadedModel
from ..prompts import EncodedQuestion, Example
from ..runs import Watcher
from ..samples import Question, question_name
from ..shared_prefix import PrefixCache, chunk_for


@dataclass(frozen=True)
class Asked:
    """One question of an example: `name` is what its records call it, `encoded` its ids behind the prefix."""

    name: str
    example: Example
    question: Question
    encoded: EncodedQuestion

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The whole prompt."""
        return self.example.prompt_ids(self.encoded)

    def about(self) -> dict[str, Any]:
        """How a record begins."""
        sample = self.example.sample
        depth = {"depth": self.question.meta["depth"]} if "depth" in self.question.meta else {}
        return {"question": self.name, "task": sample.task, "cell": dict(sample.cell), **depth}


def asked(example: Example) -> list[Asked]:
    """The example's questions."""
    triples = zip(range(len(example.questions)), example.sample.questions, example.questions, strict=True)
    return [Asked(question_name(example.sample, place), example, question, own) for place, question, own in triples]


def left_to_ask(examples: Sequence[Example], done: Collection[str]) -> list[list[Asked]]:
    """The questions without a record, those of an example together."""
    groups = [[one for one in asked(example) if one.name not in done] for example in examples]
    return [group for group in groups if group]


def watched(title: str, groups: Sequence[list[Asked]], watcher: Watcher, steps: int = 1) -> Iterator[list[Asked]]:
    """The groups, each told to the watcher when it is done: what it reads, `steps` times over."""
    costs = [steps * sum(len(one.prompt_ids) for one in group) for group in groups]
    watcher.begin(title, sum(costs))
    for group, cost in zip(groups, costs, strict=True):
        yield group
        watcher.advance(cost)
    watcher.end()


@contextlib.contextmanager
def at_work(model: LoadedModel, adapter: Adapter | None) -> Iterator[None]:
    """The model with the adapter attached, if there is one, and no gradients until the context ends."""
    with torch.no_grad(), adapter.attached(model) if adapter is not None else contextlib.nullcontext():
        yield


def prefix_of(model: LoadedModel, example: Example) -> PrefixCache:
    """What the example's questions share, read once."""
    return PrefixCache.prefill(model, example.prefix_ids, chunk=chunk_for(model))
