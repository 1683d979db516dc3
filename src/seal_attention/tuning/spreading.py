# SPDX-License-Identifier: Apache-2.0
"""A short context -> positions for its tokens that lie as far apart as those of a long one.

Scales tuned on contexts of a thousand tokens have never seen a fact that stands three thousand back, and what they
learn need not hold there. Gaps in the positions let them see such distances at the cost of the short context (Zhu et
al., 2024, PoSE, arXiv 2309.10400, do so to extend a window). An addition of ours, not the paper's, and off unless asked
for.
"""

from __future__ import annotations

import random

from ..errors import UsageError
from ..models import LoadedModel
from ..prompts import Example

GAPS = 3
SHARE = 0.5  # of the contexts: scales that never see a short context as it is lose a little on short ones (docs/log.md)


def require_reach(model: LoadedModel, width: int) -> None:
    """UsageError where positions up to `width` lie beyond the model's window."""
    if model.window and width > model.window:
        raise UsageError(
            f"--spread {width:,} goes beyond the window of {model.name}, {model.window:,} tokens; give at most that"
        )


def spare_positions(example: Example, width: int) -> int:
    """What the longest prompt and answer of the example leave of `width` positions. UsageError where they have more."""
    asked = max(len(question.suffix_ids) + len(question.answer_ids) for question in example.questions)
    length = len(example.prefix_ids) + asked
    if length > width:
        raise UsageError(
            f"--spread {width:,} is shorter than {example.sample.identifier}, which takes {length:,} tokens; "
            "give a larger one, or tune on shorter contexts"
        )
    return width - length


def drawn_positions(example: Example, width: int, seed: str) -> tuple[int, ...] | None:
    """`spread_positions` for a SHARE of all (seed, example), by lot; None, the positions as they are, for the rest."""
    whether = random.Random(f"whether/{seed}/{example.sample.identifier}").random() < SHARE
    return spread_positions(example, width, seed) if whether else None


def spread_positions(example: Example, width: int, seed: str) -> tuple[int, ...] | None:
    """Rising positions, one a prefix token, so that the longest prompt and its answer end below `width`.

    The room beyond the example's own length is used up to a part drawn anew for each `seed`, in three gaps at random
    places. None where the prefix is too short to hold a gap. UsageError where the example is longer than `width`.
    """
    spare, length = spare_positions(example, width), len(example.prefix_ids)
    if length <= GAPS:
        return None
    rng = random.Random(f"spread/{seed}/{example.sample.identifier}")
    room = rng.randint(0, spare)
    ends = sorted(rng.randint(0, room) for _ in range(GAPS - 1))
    sizes = [end - start for start, end in zip([0, *ends], [*ends, room], strict=True)]
    gaps = dict(zip(sorted(rng.sample(range(1, length), GAPS)), sizes, strict=True))
    positions, position = [], 0
    for place in range(length):
        position += gaps.get(place, 0)
        positions.append(position)
        position += 1
    return tuple(positions)
