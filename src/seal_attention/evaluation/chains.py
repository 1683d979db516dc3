# SPDX-License-Identifier: Apache-2.0
"""Examples -> chains of those whose contexts extend one another, each to be read once, and what reading it costs."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..generation import shared_with
from ..models import LoadedModel
from ..prompts import Example, common_prefix, joined
from .cells import kept_of

ASKED = 200  # characters at the end of a context that a prediction shows where its question has no text of its own
OWN = 64  # tokens that the shorter of two prefixes may have to itself: each of its questions reads them again


@dataclass(frozen=True)
class Waiting:
    """An example until its turn comes, four bytes a token: the prefix packed, of the context only the end.

    `kept` is what the predictions keep of the whole prompts, one a question; `tokens` is the example's.
    """

    example: Example
    prefix_ids: array[int]
    kept: tuple[dict[str, Any], ...]
    tokens: int

    @classmethod
    def packed(cls, example: Example) -> Waiting:
        """Let go of whatever is not needed to ask the questions."""
        sample = example.sample
        trimmed = replace(example, sample=replace(sample, context=sample.context[-ASKED:]), prefix_ids=())
        kept = tuple(kept_of(sample, question) for question in sample.questions)
        return cls(trimmed, array("i", example.prefix_ids), kept, example.tokens)

    def unpacked(self) -> Example:
        """The example as it was, but for its context's text."""
        return replace(self.example, prefix_ids=tuple(self.prefix_ids))


@dataclass(frozen=True)
class Reading:
    """Tokens to read: of a prefix those from `start` to `stop`, then so many of `questions`."""

    start: int
    stop: int
    questions: int

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.stop - self.start + self.questions

    def cost(self, keys: float) -> float:
        """What reading them costs, in tokens without attention; a token's own cost is as much as that of `keys` keys.

        Every question is taken to stand behind the whole prefix.
        """
        return reading_cost(self.start, self.stop, keys) + self.questions * (1 + self.stop / keys)


@dataclass(frozen=True)
class Chain:
    """Examples whose contexts extend one another, to be read once; `members` pair each with its cell's place."""

    members: tuple[tuple[int, Waiting], ...]

    @property
    def prefix_ids(self) -> array[int]:
        """The longest of its prefixes."""
        return max((waiting.prefix_ids for _, waiting in self.members), key=len)

    def reading(self, before: Chain | None) -> Reading:
        """What passes through the model after `before` has: the longest prefix's own tokens, and every question."""
        questions = sum(waiting.tokens - len(waiting.prefix_ids) for _, waiting in self.members)
        shared = shared_with(self.prefix_ids, before.prefix_ids) if before else 0
        return Reading(shared, len(self.prefix_ids), questions)

    def example(self) -> Example:
        """All of them as one."""
        examples = [waiting.unpacked() for _, waiting in self.members]
        return examples[0] if len(examples) == 1 else joined(examples)


def reading_cost(start: int, stop: int, keys: float) -> float:
    """The cost of the prefix's tokens from `start` to `stop`: each meets all before it."""
    return (stop - start) * (1 + (start + stop) / (2 * keys))


def keys_a_token(model: LoadedModel) -> float:
    """How many keys a query meets at the cost of its token's own matrix products.

    Those take two operations for each parameter, a key four for each channel of every query head.
    """
    channels = sum(projection.heads * projection.head_size for projection in model.projections)
    return model.parameters_a_token / (2 * channels)


def chains_of(cells: Sequence[Sequence[Waiting]]) -> list[Chain]:
    """Examples of which one's prefix goes on with the other's together, by the cell of the first of each, then by ids.

    Sorted by their ids, those that begin alike are neighbours.
    """
    members = [(place, waiting) for place, cell in enumerate(cells) for waiting in cell]
    order = {id(waiting): number for number, (_, waiting) in enumerate(members)}
    groups: list[list[tuple[int, Waiting]]] = []
    for member in sorted(members, key=lambda member: member[1].prefix_ids):
        if groups and _extends(groups[-1][-1][1], member[1]):
            groups[-1].append(member)
        else:
            groups.append([member])
    ordered = [tuple(sorted(group, key=lambda member: order[id(member[1])])) for group in groups]
    return sorted(map(Chain, ordered), key=lambda chain: (chain.members[0][0], chain.prefix_ids))


def _extends(first: Waiting, second: Waiting) -> bool:
    """Whether one prefix goes on where the other ends, but for a few tokens."""
    if first.example.sample.max_new_tokens != second.example.sample.max_new_tokens:
        return False
    shorter = min(len(first.prefix_ids), len(second.prefix_ids))
    return shorter > 1 and shorter - common_prefix([first.prefix_ids, second.prefix_ids]) <= min(OWN, shorter // 8)
