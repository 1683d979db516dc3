# SPDX-License-Identifier: Apache-2.0
"""Panels and boards -> what the page says first: the finding in a sentence, what it rests on, the effective lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .boards import Board, Exhibit
from .folders import RunFolder
from .markup import Html, element
from .panels import base_of
from .parts import labelled
from .scores import EFFECTIVE, Gain
from .sizes import TOKENS, Size
from .wording import (
    CONFIDENCE,
    PREFIXED,
    chance,
    count,
    interval,
    percent,
    sample_size,
    signed,
    signed_interval,
)


@dataclass(frozen=True)
class Finding:
    """The best tuned run at a size against base, on the questions that both answered.

    `longest`: whether no longer size has such a pair.
    """

    exhibit: Exhibit
    size: Size
    run: RunFolder
    gain: Gain
    longest: bool


def finding_of(exhibits: Sequence[Exhibit]) -> Finding | None:
    """The longest size of the first exhibit that can compare one, not the prettiest; one at which nobody was right says
    nothing, and comes after those at which somebody was.

    Where some runs were given the answer's first words and others were not, one that was not goes first.
    """
    for exhibit in exhibits:
        best: list[Finding] = []
        for size in reversed(exhibit.sizes):
            found = [
                Finding(exhibit, size, run, gain, longest=not best)
                for run in exhibit.runs
                if not run.method.startswith("base") and (gain := exhibit.gain(run, size))
            ]
            if found:
                best.append(max(found, key=lambda each: (not each.run.method.endswith(PREFIXED), each.gain.after)))
        if best:
            return next((each for each in best if each.gain.before or each.gain.after), best[0])
    return None


def finding(exhibits: Sequence[Exhibit]) -> tuple[list[str], str, Html]:
    """The headline's parts, the ground it stands on and the effective lengths, where there are answers."""
    several = len(exhibits) > 1
    found = finding_of(exhibits)
    if found:
        gain, exhibit = found.gain, found.exhibit
        best = element("span", percent(gain.after), class_=found.run.colour)
        base = element("span", percent(gain.before), class_="base")
        under = base_run.extension if (base_run := base_of(found.run, exhibit.runs)) else ""
        sentence = [*_what(exhibit, found.size, base, several, under), f"; with {found.run.label}, ", best]
        test = f", {chance(gain.p_value)}" if gain.p_value is not None else ""
        ground = (
            f"Measured on the {count(gain.n, 'question')} that both answered{_at(found)}: "
            f"{signed(gain.difference)} points, {CONFIDENCE} interval {signed_interval(gain.low, gain.high)}{test}."
        )
        return sentence, ground, effective_lengths(exhibit)
    exhibit = exhibits[0]
    sized = [
        (size, run, score) for size in exhibit.sizes for run in exhibit.runs if (score := exhibit.score(run, size))
    ]
    if not sized:  # tasks that are no benchmark together, or a benchmark not yet answered in full
        words = f"{exhibit.model} answered {exhibit.task}"
        ground = "There is no average of them to put first: each task stands in its table."
        return [words], ground, Html()
    size = sized[-1][0]
    run, score = max(((r, s) for at, r, s in sized if at == size), key=lambda pair: pair[1].mean)
    share = element("span", percent(score.mean), class_=run.colour)
    tasks = "in all of these tasks " if isinstance(exhibit, Board) else ""
    ground = (
        f"{CONFIDENCE} interval {interval(score.low, score.high)}, {sample_size(score.n)}, by {run.label} on "
        f"{exhibit.task}. There is no pair of a base run and a tuned run {tasks}to compare yet."
    )
    tuned = "" if run.method.startswith("base") else run.label
    return _what(exhibit, size, share, several, tuned), ground, effective_lengths(exhibit)


def effective_lengths(exhibit: Exhibit) -> Html:
    """Every run's effective length in large print, and the rule in words; nothing where there is a single size."""
    if len(exhibit.sizes) < 2:
        return Html()
    entries = [
        element("div", element("dt", labelled(run)), element("dd", effective_words(exhibit, run)))
        for run in exhibit.runs
        if exhibit.measured(run)
    ]
    if not entries:
        return Html()
    return element(
        "section",
        element("h2", f"Effective {_noun(exhibit)} on {exhibit.task}"),
        element("dl", *entries),
        element("p", effective_rule(exhibit), class_="note"),
        class_="effective",
    )


def effective_words(exhibit: Exhibit, run: RunFolder) -> str:
    """A run's effective size: below the shortest measured, one of them, or the longest and maybe more."""
    measured, reached = exhibit.measured(run), exhibit.effective(run)
    if reached is None:
        return f"below {measured[0].name}"
    return f"at least {reached.name}" if reached == measured[-1] else reached.name


def effective_rule(exhibit: Exhibit) -> str:
    """What counts as effective, in words."""
    if isinstance(exhibit, Board):
        what = "the average"
        bar = (
            " RULER\u2019s own bar is 85.6\u00a0% on the average of its 13 tasks, what Llama-2-7B reaches at 4k."
            if exhibit.family == "ruler"
            else ""
        )
    else:
        what, bar = ("the score at every depth" if exhibit.depths else "the score"), ""
    return (
        f"The longest {_noun(exhibit)} measured where {what} is at least {percent(EFFECTIVE)}, and was at every "
        f"shorter one too.{bar}"
    )


def _noun(exhibit: Exhibit) -> str:
    return "length" if exhibit.unit == TOKENS else "size"


def _what(exhibit: Exhibit, size: Size, share: Html, several: bool, under: str = "") -> list[str]:
    """`MODEL gets 3 % of answers right at 160 lines`, or what it averages or scores; with the task among several.

    `under`: what the model ran with, a method or a window extension.
    """
    place = f" at {size.name}" if size.unit else ""
    who = f"{exhibit.model} with {under}" if under else exhibit.model
    if isinstance(exhibit, Board):
        return [f"{who} averages ", share, f" on {exhibit.task}{place}"]
    if exhibit.binary:
        noun = f"{exhibit.task} answers" if several else "answers"
        return [f"{who} gets ", share, f" of {noun} right{place}"]
    return [f"{who} scores ", share, f" on {exhibit.task}{place}"]


def _at(found: Finding) -> str:
    exhibit, size = found.exhibit, found.size
    tasks = f" in {count(len(exhibit.panels), 'task')}" if isinstance(exhibit, Board) else ""
    if not size.unit:
        return tasks
    rows = [score for score in exhibit.scores(size) if score]
    tokens = sum(row.tokens for row in rows) / len(rows)
    longest = "their longest common size" if found.longest else "the longest size at which any answer was right"
    return f"{tasks} at {longest} ({count(tokens, 'token')} a prompt)"


def without_answers(runs: Sequence[RunFolder]) -> tuple[list[str], str, Html]:
    """The headline and its ground where nothing was answered: a loss, or what was probed."""
    ground = "No answers among these runs: add folders that `seal eval` wrote to see what the tuning brought."
    for run in runs:
        if run.steps:
            losses = f"loss from {run.steps[0].loss:.2f} to {run.smoothed_losses[-1]:.2f}"
            return [f"{run.label} on {run.model}: {losses}"], ground, Html()
    for run in runs:
        if run.probe:
            ground = "No answers among these runs: add folders that `seal eval` wrote to see how the model does."
            return [f"{run.model}, head by head"], ground, Html()
    return ["These runs have nothing to show yet"], ground, Html()
