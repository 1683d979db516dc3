# SPDX-License-Identifier: Apache-2.0
"""Samples and a usual rate -> the learning rate whose short tuning answers held-out contexts best.

Half, once and twice the usual rate are each tried in a fresh short tuning on the first contexts with few questions, and
judged by the answers' log-probability on contexts that the tuning never sees. While an outermost rate is the best, the
next one beyond it is tried too. What a rate learnt is thrown away: the tuning itself starts afresh, as with
`--lr RATE`. Rates share no prefill, since a prefix's keys and values depend on the scales from the second layer on; the
held-out questions of a context share theirs. An addition of ours, not the paper's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional

from .. import adapters
from ..errors import UsageError
from ..models import LoadedModel
from ..packing import answer_logits
from ..processes import PROCESS
from ..prompts import Encoder, Example, require_fit
from ..runs import Run, Unwatched, Watcher
from ..samples import Sample
from ..shared_prefix import PrefixCache, chunk_for
from .loop import NotFinite, TuneSettings, Tuning

RATES = "rates.jsonl"
AUTO = "auto"
HELD_OUT = 4  # contexts
QUESTIONS = 8  # of a context that a short tuning learns from
STEPS = 8  # of a short tuning; rates that are too high have shown themselves by then (docs/log.md)
FACTOR = 2.0  # from one rate to the next: a finer grid would compare noise
MOST = 5  # rates tried in all, so none beyond an eighth of the usual or eight times it
STEP_COST = 2  # a tuning step costs so many times what reading its tokens does

Tried = Mapping[float, Mapping[str, Any]]  # the record of each rate


@dataclass(frozen=True)
class RateSearch:
    """What to search with: the tuning's own `samples` and settings, and `held_out` samples that it never sees.

    The grid stands around the settings' `lr`. UsageError where there are none of either, or a sample is in both.
    """

    samples: Sequence[Sample]
    held_out: Sequence[Sample]
    settings: TuneSettings

    def __post_init__(self) -> None:
        if not self.samples or not self.held_out:
            raise UsageError(
                f"--lr {AUTO} needs samples to tune on and others to judge by, not {len(self.samples)} and "
                f"{len(self.held_out)}; give --lr a number"
            )
        seen = {sample.context for sample in self.samples}
        if twice := [sample.identifier for sample in self.held_out if sample.context in seen]:
            raise UsageError(
                f"--lr {AUTO} judges by contexts that are not tuned on, but {twice[0]} is the same as one that is; "
                "ask for fewer --samples, or give --lr a number"
            )

    @property
    def short_samples(self) -> list[Sample]:
        """The samples of a short tuning."""
        some = self.samples[: STEPS * PROCESS.count]
        return [replace(sample, questions=sample.questions[:QUESTIONS]) for sample in some]

    def cost(self, encoder: Encoder) -> float:
        """Tokens that trying one rate reads, those of a tuning step counted as often as they cost (STEP_COST)."""
        short, held_out = encoder.encode(self.short_samples[0]), encoder.encode(self.held_out[0])
        return STEP_COST * len(self.short_samples) * short.tokens + len(self.held_out) * held_out.tokens

    def share(self, encoder: Encoder) -> float:
        """What the first rates cost, as a share of the tuning itself."""
        readings = self.settings.readings
        step = STEP_COST * encoder.encode(self.samples[0].share(0, readings)).tokens
        return len(to_try(self.settings.lr, {})) * self.cost(encoder) / (step * len(self.samples) * readings)

    def announced(self, rates: Sequence[float], encoder: Encoder) -> str:
        """What is about to be tried and what it costs, in a sentence."""
        short, share = self.short_samples, self.share(encoder) * len(rates) / len(to_try(self.settings.lr, {}))
        return (
            f"--lr {AUTO} tries {', '.join(f'{rate:g}' for rate in rates)} (up to {MOST} while an outermost is best): "
            f"{math.ceil(len(short) / PROCESS.count)} steps of {len(short[0].questions)} questions each, judged on "
            f"{len(self.held_out)} contexts kept apart; about {share:.0%} of the tuning's own time"
        )


def told(tried: Tried) -> str:
    """The choice and what it was made from, in a sentence."""
    losses = ", ".join(
        f"{rate:g}: no number" if tried[rate]["loss"] is None else f"{rate:g}: {tried[rate]['loss']:.3f}"
        for rate in sorted(tried)
    )
    return f"--lr {AUTO} chose {best(tried):g} (held-out loss at {losses})"


def to_try(usual: float, tried: Tried) -> list[float]:
    """The rates to try next; none where the best of those tried stands between two others, or enough were tried."""
    first = [usual / FACTOR, usual, usual * FACTOR]
    if missing := [rate for rate in first if rate not in tried]:
        return missing
    rate = best(tried)
    if len(tried) >= MOST or min(tried) < rate < max(tried):
        return []
    return [rate / FACTOR if rate == min(tried) else rate * FACTOR]


def best(tried: Tried) -> float:
    """The rate with the lowest held-out loss; of equals the lowest rate, which is also where none was finite."""
    return min(tried, key=lambda rate: (_loss(tried[rate]), rate))


def _loss(record: Mapping[str, Any]) -> float:
    return math.inf if record["loss"] is None else record["loss"]


def try_rates(
    run: Run,
    model: LoadedModel,
    search: RateSearch,
    *,
    watcher: Watcher | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> dict[float, dict[str, Any]]:
    """Try rates until the best stands between two others: the record of each, kept in the run, so that a rerun goes on.

    `tell` hears first what it will cost, last what was chosen. NotFinite where no rate gave a loss that is a number.
    """
    watcher = watcher or Unwatched()
    encoder = Encoder(model.tokenizer)
    held_out = [encoder.encode(sample) for sample in search.held_out]
    for example in held_out:
        require_fit(example, model.window)
    with PROCESS.in_turn(model.device.type == "cpu"):
        tried = {record["lr"]: record for record in run.records(RATES)}
    if rates := to_try(search.settings.lr, tried):
        tell(search.announced(rates, encoder))
    while rates := to_try(search.settings.lr, tried):
        watcher.begin("choosing --lr", len(rates) * search.cost(encoder))
        for rate in rates:
            tried[rate] = attempt(model, search, rate, held_out, watcher)
            if PROCESS.rank == 0:
                run.append(RATES, tried[rate])
        watcher.end()
    if tried[best(tried)]["loss"] is None:
        raise NotFinite(
            f"none of the rates {', '.join(f'{rate:g}' for rate in sorted(tried))} gave a loss that is a number; try "
            "--dtype float32, or give --lr a lower one"
        )
    tell(told(tried))
    return tried


def attempt(
    model: LoadedModel, search: RateSearch, rate: float, held_out: Sequence[Example], watcher: Watcher
) -> dict[str, Any]:
    """A short tuning at the rate -> its record: the held-out `loss` (None where it is no number) and `exact` share."""
    started = time.perf_counter()
    tuning = Tuning(model, search.short_samples, replace(search.settings, lr=rate, readings=1))
    names = [example.sample.identifier for example in held_out]
    record: dict[str, Any] = {"lr": rate, "steps": tuning.steps, "held_out": names, "loss": None, "exact": None}
    try:
        with tuning.adapter.attached(model):
            for _ in range(tuning.steps):
                _, loss, _ = tuning.take_step()
                watcher.advance(STEP_COST * PROCESS.count * tuning.first.tokens, f"lr {rate:g}  loss {loss:.3f}")
            with tuning.state.averaged():
                judged = judge(model, held_out[PROCESS.rank :: PROCESS.count], search.settings.batch, watcher)
        total = torch.tensor(judged, dtype=torch.float32, device=model.device)
        loss, exact, questions = tuning.accelerator.reduce(total).tolist()
        if math.isfinite(loss):
            record |= {"loss": loss / questions, "exact": exact / questions, "questions": round(questions)}
    except NotFinite:
        pass  # a rate that is too high: the record says so
    finally:
        adapters.remove(tuning.adapter)
    return {**record, "seconds": round(time.perf_counter() - started, 3)}


@torch.no_grad()
def judge(model: LoadedModel, examples: Sequence[Example], batch: int, watcher: Watcher) -> tuple[float, float, float]:
    """Sums over the questions: mean cross-entropy of the answer's tokens; answers greedily written as they are; 1."""
    loss, exact, questions = 0.0, 0.0, 0.0
    for example in examples:
        prefix = PrefixCache.prefill(model, example.prefix_ids, chunk=chunk_for(model))
        for start in range(0, len(example.questions), batch):
            asked = example.questions[start : start + batch]
            for logits, question in zip(answer_logits(model, asked, prefix), asked, strict=True):
                wanted = torch.tensor(question.answer_ids, device=logits.device)
                loss += float(functional.cross_entropy(logits.float(), wanted))
                exact += float((logits.argmax(-1) == wanted).all())
                questions += 1
        watcher.advance(PROCESS.count * example.tokens, f"held-out loss {loss / questions:.3f}")
    return loss, exact, questions
