# SPDX-License-Identifier: Apache-2.0
"""An endpoint and cells of samples -> predictions on disk -> rows of scores with intervals.

A bounded number of questions is under way at once; each answer is scored and appended as it comes. Where a question
gets no answer the others under way are still waited for and written, then the run ends in one sentence; running it
again asks only what has no prediction yet.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..endpoints import Endpoint, Message, Session, Unanswered
from ..errors import SealError, UsageError
from ..runs import Run, Unwatched, Watcher
from ..samples import Prediction, Question, Sample, question_name
from .cells import PREDICTIONS, Cell, CellName, Written, kept_of, predict, rows_of

CHARACTERS_A_TOKEN = 4  # of English, about: for the time left, and where a server counts no tokens


@dataclass(frozen=True)
class Asked:
    """One question of one sample, waiting to be asked."""

    cell: Cell
    sample: Sample
    place: int

    @property
    def question(self) -> Question:
        """The question itself."""
        return self.sample.questions[self.place]

    @property
    def name(self) -> str:
        """What the question is called in predictions."""
        return question_name(self.sample, self.place)

    @property
    def cell_name(self) -> CellName:
        """The square it belongs to."""
        return self.sample.task, dict(self.sample.cell)

    @property
    def cost(self) -> int:
        """The prompt's tokens, estimated."""
        return estimated_tokens(bare_prompt(self.sample, self.question))


def bare_prompt(sample: Sample, question: Question) -> str:
    """All of a prompt that no template adds, but for a system message and earlier turns."""
    return sample.context + question.text + question.answer_prefix


def messages_of(sample: Sample, question: Question, *, continued: bool) -> list[Message]:
    """The conversation that asks a question.

    An answer prefix ends the user's turn, as in RULER's clients of OpenAI and Gemini (pred/call_api.py), a space
    before it where neither side brings one; `continued` makes it the assistant's own turn, which the server must know
    how to go on with.
    """
    user, prefix = sample.context + question.text, question.answer_prefix
    own_turn = [{"role": "assistant", "content": prefix}] if continued and prefix else []
    if prefix and not own_turn:
        user += prefix if user[-1:].isspace() or prefix[0].isspace() else f" {prefix}"
    turns = [
        {"role": role, "content": text}
        for exchange in sample.earlier
        for role, text in zip(("user", "assistant"), exchange, strict=True)
    ]
    system = [{"role": "system", "content": sample.system}] if sample.system else []
    return [*system, *turns, {"role": "user", "content": user}, *own_turn]


def estimated_tokens(text: str) -> int:
    """Tokens of a text nobody counted: its characters / 4."""
    return math.ceil(len(text) / CHARACTERS_A_TOKEN)


def evaluate_endpoint(
    run: Run,
    endpoint: Endpoint,
    cells: Sequence[Cell],
    *,
    method: str,
    continued: bool = False,
    concurrency: int = 8,
    watcher: Watcher | None = None,
    on_rows: Callable[[list[dict[str, Any]]], None] = lambda rows: None,
) -> list[dict[str, Any]]:
    """Ask every question greedily, at most `concurrency` at once, and score it; returns (and writes) the rows.

    Questions whose predictions stand in the run are not asked again. `continued` puts an answer prefix where the model
    goes on from it (see `messages_of`). `on_rows` gets the rows as each cell ends, that cell's last. SealError, with
    what is done and kept, where a question gets no answer.
    """
    if concurrency < 1:
        raise UsageError(f"--concurrency must be at least 1, not {concurrency}")
    held = [(cell, list(cell.samples)) for cell in cells]
    asked = [
        Asked(cell, sample, place)
        for cell, samples in held
        for sample in samples
        for place in range(len(sample.questions))
    ]
    done = {record["question"] for record in run.records(PREDICTIONS)}
    waiting = [each for each in asked if each.name not in done]
    watcher = watcher or Unwatched()
    watcher.begin(f"asking {endpoint.model}", sum(each.cost for each in waiting))
    questioning = Questioning(run, endpoint, method, continued, watcher, on_rows)
    asyncio.run(questioning.ask(waiting, concurrency))
    records = run.records(PREDICTIONS)
    if questioning.failure:
        raise SealError(
            f"{questioning.failure}; {len(records):,} of {len(asked):,} questions are answered and kept: run the same "
            "command again to go on"
        )
    watcher.end()
    rows = rows_of(records, method)
    run.finish({"rows": rows, "retries": sum(record["meta"]["retries"] for record in records)})
    return rows


@dataclass
class Questioning:
    """A run being filled with answers; `failure` is the clause that says why it has to stop."""

    run: Run
    endpoint: Endpoint
    method: str
    continued: bool
    watcher: Watcher
    on_rows: Callable[[list[dict[str, Any]]], None]
    failure: str = ""
    score: float = 0.0
    answered: int = 0

    async def ask(self, waiting: Sequence[Asked], concurrency: int) -> None:
        """Ask all that waits, or until something fails and what is under way has been written."""
        left = Counter(str(asked.cell_name) for asked in waiting)
        queue = iter(waiting)  # one for all workers: each takes the next question when it is free
        async with self.endpoint.session(lambda reason: self.watcher.advance(0, reason)) as session:
            await asyncio.gather(*(self._work(session, queue, left) for _ in range(concurrency)))

    async def _work(self, session: Session, queue: Iterator[Asked], left: Counter[str]) -> None:
        for asked in queue:
            try:
                written = await self._written(session, asked)
                kept = kept_of(asked.sample, asked.question)
                # On a thread: a score may itself wait for an answer (of a model that judges), and nobody else should.
                prediction = await asyncio.to_thread(
                    predict, asked.sample, asked.place, kept, written, asked.cell.scores
                )
            except Unanswered as error:
                self.failure = self.failure or f"{asked.name} got no answer: {error.clause}"
                return
            self.run.append(PREDICTIONS, prediction.record())
            self._tell(asked, prediction)
            left[str(asked.cell_name)] -= 1
            if not left[str(asked.cell_name)]:
                self.on_rows(rows_of(self.run.records(PREDICTIONS), self.method, newest=asked.cell_name))
            if self.failure:
                return

    async def _written(self, session: Session, asked: Asked) -> Written:
        sample, question = asked.sample, asked.question
        prompt = bare_prompt(sample, question)
        if sample.templated:
            continued = self.continued and bool(question.answer_prefix)
            messages = messages_of(sample, question, continued=continued)
            reply = await session.chat(messages, sample.max_new_tokens, continued=continued)
        else:
            reply = await session.complete(prompt, sample.max_new_tokens)
        notes: dict[str, Any] = {"retries": reply.retries}
        if reply.prompt_tokens is None:
            notes["tokens_estimated"] = True
        elif reply.prompt_tokens < len(prompt.split()):  # no tokenizer in use makes fewer tokens than there are words
            notes["cut_by_server"] = True
        return Written(
            text=reply.text,
            tokens=reply.prompt_tokens or estimated_tokens(prompt),
            new_tokens=reply.new_tokens or estimated_tokens(reply.text),
            stopped=reply.stopped,
            notes=notes,
        )

    def _tell(self, asked: Asked, prediction: Prediction) -> None:
        self.answered += 1
        self.score += prediction.score
        self.watcher.advance(asked.cost, f"{self.score:.0f}/{self.answered} right")
