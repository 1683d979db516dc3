# SPDX-License-Identifier: Apache-2.0
"""Text -> the records every stage shares: samples with their questions, and predictions.

A sample is text alone, without tokens: one context, one or more questions about it, and for each question
the reference answers and the string that tuning teaches. Everything here is frozen and goes to and from JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Question:
    """One question about a context.

    `text` follows the context in the user's turn; `answer_prefix` opens the model's turn (a prefill, often
    empty) and is never scored or learnt; `target` is the rest of the model's turn: what tuning teaches, and the
    draft that evaluation verifies; `answers` are the references that the task's scorer looks for.
    """

    text: str
    answers: tuple[str, ...]
    target: str
    answer_prefix: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One context with its questions.

    `cell` names its square in a table (lines, length, depth); `meta` holds what else the task knows (seed, split).
    `system` opens the conversation and `earlier` holds the exchanges (user, assistant) before the one that counts.
    `templated` is False where the benchmark gives the model bare text, `cut_middle` True where it prescribes that a
    prompt beyond the window loses its middle.
    """

    identifier: str
    task: str
    context: str
    questions: tuple[Question, ...]
    max_new_tokens: int
    cell: Mapping[str, int] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    system: str = ""
    earlier: tuple[tuple[str, str], ...] = ()
    templated: bool = True
    cut_middle: bool = False

    def share(self, reading: int, readings: int) -> Sample:
        """The sample with the questions of one reading of several; where there are fewer, they come again."""
        shares = max(1, min(readings, len(self.questions)))
        return dataclasses.replace(self, questions=self.questions[reading % shares :: shares])


@dataclass(frozen=True)
class Prediction:
    """What a model answered to one question, kept whole so that any score can be recomputed.

    `tokens` counts the prompt with its template and answer prefix; `stopped` says that the model ended its turn
    by itself rather than at the limit of new tokens; `scores` are the task's on `text` (0 to 1, the first of them the
    benchmark's own), and `score` is that first one.
    """

    question: str
    sample: str
    task: str
    asked: str
    answers: tuple[str, ...]
    text: str
    score: float
    tokens: int
    new_tokens: int
    stopped: bool
    scores: Mapping[str, float] = field(default_factory=dict)
    cell: Mapping[str, int] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The prediction as a JSON object."""
        return dataclasses.asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Prediction:
        """The prediction that `record` once was; unknown keys raise TypeError."""
        return cls(**{**record, "answers": tuple(record["answers"])})


def question_name(sample: Sample, place: int) -> str:
    """What a question is called in every run: its sample and its place there."""
    return f"{sample.identifier}/{place}"


def digest_of(sample: Sample, question: Question) -> str:
    """16 hexadecimal digits of the whole prompt's text, templates aside: equal in two runs that asked the same."""
    parts = [sample.system, *map(list, sample.earlier), sample.context, question.text, question.answer_prefix]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def named_size(name: str, value: int) -> str:
    """One of a cell's sizes in words."""
    if name == "length":
        return tokens_name(value)
    return f"depth {value} %" if name == "depth" else f"{value:,} {name}"


def tokens_name(tokens: int) -> str:
    """4096 -> 4k, 5000 -> 5,000."""
    return f"{tokens // 1024}k" if tokens % 1024 == 0 else f"{tokens:,}"
