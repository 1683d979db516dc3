# SPDX-License-Identifier: Apache-2.0
"""A size as typed, or a budget of tokens -> a task of that size, with few tokenizer calls."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import UsageError
from ..samples import Sample
from .lines import Lines

PROBES = 3  # samples counted for a size; others of that size may be longer, hence the margin
MARGIN = 1.01


def parse_counts(option: str, text: str) -> list[int]:
    """`20,40` or `1k,4k` -> numbers (1k = 1024). UsageError where one is not a whole number above 0."""
    counts = []
    for part in text.split(","):
        digits, scale = (part.strip()[:-1], 1024) if part.strip().lower().endswith("k") else (part.strip(), 1)
        if not digits.isdecimal() or int(digits) < 1:
            raise UsageError(f"{option} takes whole numbers above 0 such as 40, 4k or 1k,2k, not {text!r}")
        counts.append(int(digits) * scale)
    return counts


def sized_by_tokens(
    kind: type[Lines],
    tokens: int,
    questions: int | None,
    prefixed: bool,
    budget: Callable[[Sample], int],
    most: int = 8,
) -> Lines:
    """The largest task whose prompts, template and generation budget stay within `tokens`.

    `budget` counts a sample's tokens with its generation budget; `questions` None asks `most`, or as many as there are
    lines. Bisection over the lines, about a dozen counts; 1 % of the tokens is kept free because other samples of the
    same size differ a little. UsageError, with the number needed, where even the smallest does not fit.
    """

    def needed(lines: int) -> int:
        task = kind(lines, 1, prefixed)
        return int(MARGIN * max(budget(task.sample(0, "test", -1 - probe)) for probe in range(PROBES)))

    smallest = questions or 1
    if needed(smallest) > tokens:
        raise UsageError(
            f"--length {tokens:,} can't hold a record of {smallest} lines, which needs {needed(smallest):,} tokens; "
            "ask for more, or for fewer --questions"
        )
    low, high = smallest, max(smallest + 1, tokens // 8)  # a line is never under eight tokens
    while low < high:
        middle = (low + high + 1) // 2
        if needed(middle) <= tokens:
            low = middle
        else:
            high = middle - 1
    return kind(low, min(most, low) if questions is None else questions, prefixed)
