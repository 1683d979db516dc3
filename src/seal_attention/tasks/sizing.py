# SPDX-License-Identifier: Apache-2.0
"""A size as typed, or a budget of tokens -> a task of that size and its samples, with few tokenizer calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from ..errors import UsageError
from ..samples import Sample
from .task import Split, Task

PROBES = 3  # samples counted for a size; a later one that is longer still gets fewer units of its own
Budget = Callable[[Sample], int]  # the tokens of a sample's longest prompt and its answer


def parse_counts(option: str, text: str) -> list[int]:
    """`20,40` or `1k,4k` -> numbers (1k = 1024). UsageError where one is not a whole number above 0."""
    counts = []
    for part in text.split(","):
        digits, scale = (part.strip()[:-1], 1024) if part.strip().lower().endswith("k") else (part.strip(), 1)
        if not digits.isdecimal() or int(digits) < 1:
            raise UsageError(f"{option} takes whole numbers above 0 such as 40, 4k or 1k,2k, not {text!r}")
        counts.append(int(digits) * scale)
    return counts


def of_units(task: Task, units: int, questions: int | None, tuning: bool = False) -> Task:
    """The task with that many units; `questions` None asks as many as usual, or as many as there can be."""
    if questions is None:
        usual = task.usual_questions[0 if tuning else 1]
        most = task.askable(units)
        questions = usual if most is None else max(1, min(usual, most))
    return replace(task, units=units, questions=questions)


def of_length(task: Task, tokens: int, questions: int | None, budget: Budget, tuning: bool = False) -> Task:
    """The largest size whose prompts, template and generation budget stay within `tokens`.

    Doubling, then bisection: about two dozen counts. UsageError, with the number needed, where even the smallest does
    not fit.
    """
    task = replace(task, length=tokens)

    def needed(units: int) -> int:
        sized = of_units(task, units, questions, tuning)
        return max(budget(_longest_asked(sized.sample(0, "test", -1 - probe))) for probe in range(PROBES))

    smallest = smallest_of(task, questions or 1)
    if needed(smallest) > tokens:
        raise UsageError(
            f"--length {tokens:,} can't hold {task.name} of the smallest size ({smallest}), which needs "
            f"{needed(smallest):,} tokens; ask for more, or for fewer --questions"
        )
    low, high = smallest, 2 * smallest
    while high <= tokens and needed(high) <= tokens:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if needed(middle) <= tokens:
            low = middle
        else:
            high = middle
    return of_units(task, low, questions, tuning)


def _longest_asked(sample: Sample) -> Sample:
    """The sample with the question of the most characters alone: the one count that a search needs."""
    asked = max(sample.questions, key=lambda question: len(question.text) + len(question.answer_prefix))
    return replace(sample, questions=(asked,))


def smallest_of(task: Task, questions: int) -> int:
    """The fewest units of which that many questions can be asked; the task's own refusal where no size allows them."""
    sizes = range(task.fewest, task.fewest + questions + 1)
    askable = [units for units in sizes if (most := task.askable(units)) is None or most >= questions]
    return askable[0] if askable else of_units(task, sizes[-1], questions).units


def fitted(task: Task, budget: Budget, seed: int, split: Split, index: int) -> Sample:
    """The sample; of a task sized by tokens, with as many units fewer as it takes to stay within them."""
    sample = task.sample(seed, split, index)
    while task.length and budget(sample) > task.length:
        fewer = task.units - max(1, task.units // 100)
        if fewer < task.fewest:
            raise UsageError(f"{sample.identifier} needs {budget(sample):,} tokens, more than --length {task.length:,}")
        most = task.askable(fewer)
        task = replace(task, units=fewer, questions=task.questions if most is None else min(task.questions, most))
        sample = task.sample(seed, split, index)
    return sample


def draw(task: Task, split: Split, seed: int, questions: int, budget: Budget | None = None) -> list[Sample]:
    """As many samples of the task as hold at least `questions` questions (or as there are). UsageError below one."""
    if questions < 1:
        raise UsageError(f"there are {questions} questions to ask; ask for at least 1")
    samples = math.ceil(questions / task.questions)
    indices = range(samples if task.available is None else min(samples, task.available))
    if budget is None:
        return [task.sample(seed, split, index) for index in indices]
    return [fitted(task, budget, seed, split, index) for index in indices]
