# SPDX-License-Identifier: Apache-2.0
"""A task's name and size -> samples and a scorer: one module a task family, no torch in here."""

from __future__ import annotations

import math

from ..errors import UsageError
from ..samples import Sample
from .lines import Lines, Split

TASKS = {"lines": Lines}


def find(name: str) -> type[Lines]:
    """The task called `name`; UsageError with the names there are."""
    if name not in TASKS:
        raise UsageError(f"unknown --task {name!r}; choose {', '.join(TASKS)}")
    return TASKS[name]


def draw(task: Lines, split: Split, seed: int, questions: int) -> list[Sample]:
    """As many samples of the task as hold at least `questions` questions. UsageError for fewer than one."""
    if questions < 1:
        raise UsageError(f"there are {questions} questions to ask; ask for at least 1")
    return [task.sample(seed, split, index) for index in range(math.ceil(questions / task.questions))]
