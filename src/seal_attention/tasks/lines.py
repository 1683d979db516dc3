# SPDX-License-Identifier: Apache-2.0
"""A number of lines and a seed -> LongEval line-retrieval samples, and the score of an answer.

The prompt, the keys (LRT-NL: adjective-noun, each adjective once), the values and the scoring rule are those of
LongChat's `longeval/utils.py` (`generate_lines_testcases`, `test_lines_one_sample`). Two things are ours: several
questions may be asked of one record, and the key pairs are split in two halves by a checksum, so that no line of a
training record can ever stand in a test record.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..errors import UsageError
from ..samples import Question, Sample
from ..scoring.longeval import longeval_number
from .task import Split, Task

HEADER = (
    "Below is a record of lines I want you to remember. Each line begins with 'line <line index>' and contains a "
    "'<REGISTER_CONTENT>' at the end of the line as a numerical value. For each line index, memorize its corresponding "
    "<REGISTER_CONTENT>. At the end of the record, I will ask you to retrieve the corresponding <REGISTER_CONTENT> "
    "of a "
    "certain line index. Now the record start:\n\n"
)
LINE = "line {key}: REGISTER_CONTENT is <{value}>\n"
QUESTION = "\nNow the record is over. Tell me what is the <REGISTER_CONTENT> in line {key}? I need the number."
ANSWER_OPENING = "The <REGISTER_CONTENT> in line {key} is"
LARGEST_VALUE = 50_000
LINE_PATTERN = re.compile(r"^line (.*?): REGISTER_CONTENT is <(\d+)>$", re.MULTILINE)


@cache
def _words() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """wonderwords' adjectives and nouns, sorted (910 and about 6,800 distinct words in 3.0.1)."""
    from wonderwords import RandomWord

    words = RandomWord()
    return (
        tuple(sorted(set(words.filter(include_categories=["adjective"])))),
        tuple(sorted(set(words.filter(include_categories=["noun"])))),
    )


def split_of(key: str) -> Split:
    """The half of all keys that `key` belongs to: training records draw from one half, test records from the other."""
    return "train" if zlib.crc32(key.encode()) % 2 else "test"


def draw_keys(rng: random.Random, count: int, split: Split) -> list[str]:
    """`count` distinct adjective-noun keys of `split`, in random order; fewer keys are the first of more.

    While the adjectives last each is used once, as in LongEval; beyond that (where LongEval's generator raises) pairs
    are drawn with replacement and repeated keys rejected.
    """
    adjectives, nouns = _words()
    most = len(adjectives) * len(nouns) // 4  # half belongs to the split; keep rejection cheap
    if count > most:
        raise UsageError(f"{count} lines need more distinct keys than there are: at most {most}; ask for fewer --lines")
    pool = rng.sample(nouns, len(nouns))
    found: dict[str, None] = {}
    for adjective in rng.sample(adjectives, len(adjectives))[:count]:
        place = next(i for i, noun in enumerate(pool) if split_of(f"{adjective}-{noun}") == split)
        found[f"{adjective}-{pool.pop(place)}"] = None
    more = random.Random(copy(rng).random())  # rng itself goes on alike for every count, so values do too
    while len(found) < count:
        key = f"{more.choice(adjectives)}-{more.choice(nouns)}"
        if split_of(key) == split:
            found[key] = None
    return list(found)


def question_about(key: str, value: int, *, prefixed: bool, asked: str | None = None) -> Question:
    """The question for `key`; `prefixed` moves the answer's first words from the target into the given prefix."""
    opening = ANSWER_OPENING.format(key=key)
    text = QUESTION.format(key=key) if asked is None else asked
    if prefixed:
        return Question(text, (str(value),), f" {value}.", answer_prefix=opening, meta={"key": key})
    return Question(text, (str(value),), f"{opening} {value}.", meta={"key": key})


@dataclass(frozen=True)
class Lines(Task):
    """LongEval's line retrieval at one size.

    `units` lines in the record, `questions` asked of each (distinct lines, uniformly drawn); `prefixed` gives the
    answer's first words, so that only the number itself is left to retrieve.
    """

    prefixed: bool = False
    name: str = field(default="lines", kw_only=True)
    unit = "lines"
    usual_questions = (24, 8)
    max_new_tokens = 100

    def askable(self, units: int) -> int:
        """One question a line."""
        return units

    def sample(self, seed: int, split: Split, index: int) -> Sample:
        """The `index`-th record of (seed, split); a shorter one begins a longer one, and has questions of its own.

        So an evaluation at several sizes reads only the longest.
        """
        rng = random.Random(f"{self.name}/{seed}/{split}/{index}")
        keys = draw_keys(rng, self.units, split)
        values = [rng.randint(1, LARGEST_VALUE) for _ in keys]
        asked = self.random(seed, split, index).sample(range(self.units), self.questions)
        return Sample(
            identifier=self.identifier(seed, split, index),
            task=self.name,
            context=HEADER + "".join(LINE.format(key=k, value=v) for k, v in zip(keys, values, strict=True)),
            questions=tuple(question_about(keys[i], values[i], prefixed=self.prefixed) for i in asked),
            max_new_tokens=self.max_new_tokens,
            cell=self.cell,
            meta={"lines": self.units, "seed": seed, "split": split, "positions": asked},
        )

    def scores(self, text: str, question: Question) -> dict[str, float]:
        """LongEval's last-number rule on the text after the prompt."""
        return {"longeval": longeval_number(text, int(question.answers[0]))}

    def read_cases(self, path: Path) -> list[Sample]:
        """LongEval's own test-case file -> its samples, in order (see `read_case`); UsageError for an empty file."""
        try:
            lines = path.read_text(encoding="utf-8").split("\n")  # not splitlines: JSON text may hold U+2028 as it is
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--cases {path} can't be read ({error}); give LongEval's JSON-lines file") from error
        samples = [
            read_case(path, number, line, self.prefixed) for number, line in enumerate(lines, start=1) if line.strip()
        ]
        if not samples:
            raise UsageError(
                f"--cases {path} holds 0 test cases; each line is one, with prompt, expected_number and random_idx"
            )
        return samples


def read_case(path: Path, number: int, line: str, prefixed: bool) -> Sample:
    """One line of a LongEval test-case file (prompt, expected_number, random_idx, num_lines) -> a sample.

    The prompt is used byte for byte. UsageError names the line and field where it is not of that form.
    """
    try:
        case = json.loads(line)
        prompt, value, key = case["prompt"], int(case["expected_number"]), str(case["random_idx"][0])
        lines = int(case.get("num_lines") or len(LINE_PATTERN.findall(prompt)))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(
            f"{path} line {number} is not a LongEval test case ({type(error).__name__}: {error}); each line needs "
            "prompt, "
            "expected_number and random_idx [key, position]"
        ) from error
    return Sample(
        identifier=f"{path.name}-{number}",
        task="lines",
        context=prompt,
        questions=(question_about(key, value, prefixed=prefixed, asked=""),),
        max_new_tokens=Lines.max_new_tokens,
        cell={"lines": lines},
        meta={"cases": path.name},
    )
