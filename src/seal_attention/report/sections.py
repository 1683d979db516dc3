# SPDX-License-Identifier: Apache-2.0
"""Plain rows -> the sections of the page, each figure with the table of its numbers behind it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..samples import Prediction
from .figures import accuracy_figure, head_map_figure, loss_figure, span_of
from .folders import ADAPTER, RunFolder
from .markup import Html, element, join, table
from .tables import Panel
from .wording import (
    CONFIDENCE,
    DASH,
    PREFIXED,
    SPACE,
    bare_percent,
    chance,
    clipped,
    colour_name,
    count,
    interval,
    percent,
    signed,
    signed_interval,
    size_name,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHOWN_QUESTIONS = 5  # a cell


def accuracy(panel: Panel, figures: list[go.Figure]) -> Html:
    """The accuracies, their figure over length, and the differences from base."""
    header = ["Size", *map(_labelled, panel.runs)]
    caption = f"Share of the questions answered right, above its {CONFIDENCE} Wilson interval"
    parts = [_panel_title(panel), table(caption, header, [_accuracy_row(panel, size) for size in panel.sizes])]
    if any(run.method.endswith(PREFIXED) for run in panel.runs):
        note = "-prefixed: the answer\u2019s first words were already written for the model."
        parts.append(element("p", note, class_="note"))
    points = [
        [
            run.label,
            size_name(size),
            f"{row.tokens:,.0f}",
            *(percent(share) for share in (row.accuracy, row.low, row.high)),
            f"{row.n:,}",
        ]
        for run in panel.runs
        for size in panel.sizes
        if (row := panel.accuracy(size, run))
    ]
    behind = table(
        "The points of the figure", ["Run", "Size", "Tokens", "Right", "Low", "High", "n"], points, "numbers"
    )
    caption = f"Share answered right by length of the prompt; bands and bars are {CONFIDENCE} intervals."
    parts.append(_figure(figures, accuracy_figure(panel), "Accuracy by length", caption, behind))
    compared = [run for run in panel.runs if panel.base_of(run)]
    if not any(run.method.startswith("base") for run in panel.runs):
        advice = "None of these folders holds answers of the base model to take differences from; add one that does."
        parts.append(element("p", advice, class_="note"))
    elif compared:
        caption = (
            f"Percentage points gained on the very questions that both answered, above the {CONFIDENCE} interval of "
            "the mean paired difference and McNemar\u2019s exact test"
        )
        rows = [_difference_row(panel, size, compared) for size in panel.sizes]
        parts += [element("h3", "Difference from base"), table(caption, ["Size", *map(_labelled, compared)], rows)]
    return join(parts)


def tuning(runs: Sequence[RunFolder], figures: list[go.Figure]) -> list[Html]:
    """What was tuned, on what, at what cost; and the loss curves."""
    if not runs:
        return []
    header = ["Run", "Task", "Lines", "Samples", "Questions", "Rate", "Seed", "Steps", "Tokens", "Time", "Loss"]
    parts = [table("What was tuned, on what, at what cost", header, [_tuning_row(run) for run in runs], "close")]
    started = [run for run in runs if run.steps]
    if started:
        header = ["Run", "Step", "Loss", "Smoothed", "Gradient norm", "Questions", "Tokens", "Seconds"]
        behind = table("Every step", header, [row for run in started for row in _step_rows(run)], "numbers")
        caption = (
            "Loss on the answer\u2019s tokens, step by step (light) and smoothed by an exponential mean that keeps "
            "four fifths of its last value (strong)."
        )
        parts.append(_figure(figures, loss_figure(started), "Loss while tuning", caption, behind))
    return parts


def head_maps(runs: Sequence[RunFolder], figures: list[go.Figure]) -> list[Html]:
    """One map of learnt scales for each adapter that scales heads or channels."""
    mapped = [(run, run.head_map) for run in runs if run.head_map]
    span = span_of([head_map for _, head_map in mapped])
    legend = (
        "One square a head: a scale of 1 leaves it as it was, more makes it louder, less makes it quieter. For SEAL-C "
        "a square is the mean over the head\u2019s channels. All maps share one colour scale."
    )
    parts = [element("p", legend)] if mapped else []
    for run, head_map in mapped:
        quietest, loudest = (f"layer {layer}, head {head} ({scale:.2f})" for scale, layer, head in head_map.extremes)
        caption = f"Loudest: {loudest}. Quietest: {quietest}."
        heads = max(len(row) for row in head_map.scales)
        rows = [
            [f"layer {layer}", *(f"{scale:.3f}" for scale in row)]
            for layer, row in zip(head_map.layers, head_map.scales, strict=True)
        ]
        behind = table(
            "The scale of every head", ["Layer", *(f"head {head}" for head in range(heads))], rows, "numbers"
        )
        figure = head_map_figure(head_map, span)
        parts += [
            element("h3", _labelled(run)),
            _figure(figures, figure, f"Scales of {run.label}", caption, behind, heads),
        ]
    without = [run.label for run in runs if run.finished and not run.head_map]
    if without:
        parts.append(element("p", f"No map for {', '.join(without)}: {ADAPTER} holds no head scales.", class_="note"))
    return parts


def samples(panel: Panel) -> Html:
    """A handful of questions of every cell, the answers of all runs side by side."""
    note = "A few questions of every size, those first where the runs differ: examples, not a fair draw."
    parts = [_panel_title(panel), element("p", note, class_="note")]
    for size in panel.sizes:
        questions = []
        for shown in panel.shown(size, SHOWN_QUESTIONS):
            answers = [
                _answer(run, shown.predictions[run.label]) for run in panel.runs if run.label in shown.predictions
            ]
            expected = element("strong", clipped(" or ".join(shown.answers)))
            questions.append(
                element(
                    "article",
                    element("p", clipped(shown.asked), class_="asked"),
                    element("p", "Expected: ", expected, class_="note"),
                    element("dl", *answers, class_="answers"),
                    class_="question",
                )
            )
        summary = element("summary", size_name(size), " ", element("small", count(len(questions), "question")))
        parts.append(element("details", summary, *questions))
    return join(parts)


def runs_and_manifests(runs: Sequence[RunFolder]) -> list[Html]:
    """Which folders the page was made from, and every manifest in full."""
    rows = [
        [
            _labelled(run),
            str(run.folder),
            f"seal {run.command}",
            run.model,
            "finished" if run.finished else "unfinished",
            holds(run),
            str(run.manifest.get("started", DASH)),
        ]
        for run in runs
    ]
    header = ["Run", "Folder", "Command", "Model", "State", "Holds", "Started"]
    parts = [table("The folders behind this page", header, rows, "words")]
    for run in runs:
        manifest = json.dumps(run.manifest, indent=2, ensure_ascii=False)
        summary = element("summary", _labelled(run), " ", element("small", f"manifest of {run.folder}"))
        parts.append(element("details", summary, element("pre", manifest, tabindex="0")))
    return parts


def holds(run: RunFolder) -> str:
    """How much a run has brought so far."""
    return count(len(run.predictions), "answer") if run.command == "eval" else count(len(run.steps), "step")


def _panel_title(panel: Panel) -> Html:
    return element("h3", f"{panel.model}, {panel.task}")


def _accuracy_row(panel: Panel, size: int | None) -> list[str]:
    measured = [panel.accuracy(size, run) for run in panel.runs]
    total, each = _counts([row.n if row else None for row in measured])
    cells = [
        join([element("strong", percent(row.accuracy)), _small(interval(row.low, row.high)), _small(n)])
        if row
        else DASH
        for row, n in zip(measured, each, strict=True)
    ]
    tokens = count(panel.tokens(size), "token")
    return [join([size_name(size), _small(tokens), _small(total)]), *cells]


def _difference_row(panel: Panel, size: int | None, runs: Sequence[RunFolder]) -> list[str]:
    pairs = [panel.difference(size, run) for run in runs]
    total, each = _counts([pair.n if pair else None for pair in pairs])
    cells: list[str] = []
    for pair, n in zip(pairs, each, strict=True):
        if pair is None:
            cells.append(DASH)
            continue
        gained = element("strong", signed(pair.difference))
        ends, test = signed_interval(pair.low, pair.high), chance(pair.p_value)
        cells.append(join([gained, _small(ends), _small(test), _small(n)]))
    return [join([size_name(size), _small(total)]), *cells]


def _counts(numbers: Sequence[int | None]) -> tuple[str, list[str]]:
    """How many questions stand behind a row: said once where all cells have as many, else in every cell."""
    words = [f"n{SPACE}={SPACE}{number:,}" if number else "" for number in numbers]
    distinct = {word for word in words if word}
    return ("", words) if len(distinct) > 1 else ("".join(distinct), [""] * len(words))


def _small(text: str) -> Html:
    """A line in small print under a cell's figure, nothing for no text."""
    return element("small", text) if text else Html()


def _tuning_row(run: RunFolder) -> list[str]:
    seconds = sum(step.seconds for step in run.steps)
    facts = {**run.settings, **run.adapter}  # the adapter knows best, once there is one
    settings = [facts.get(name) for name in ("task", "lines", "samples", "questions", "lr", "seed")]
    return [
        _labelled(run),
        *(DASH if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in settings),
        f"{len(run.steps):,}",
        f"{sum(step.tokens for step in run.steps):,}",
        f"{seconds / 60:.0f}{SPACE}min" if seconds >= 120 else f"{seconds:.0f}{SPACE}s",
        f"{run.steps[0].loss:.2f} to {run.smoothed_losses[-1]:.2f}" if run.steps else DASH,
    ]


def _step_rows(run: RunFolder) -> list[list[str]]:
    return [
        [
            run.label,
            str(step.step),
            f"{step.loss:.4f}",
            f"{smooth:.4f}",
            f"{step.gradient_norm:.3g}",
            str(step.questions),
            f"{step.tokens:,}",
            f"{step.seconds:.1f}",
        ]
        for step, smooth in zip(run.steps, run.smoothed_losses, strict=True)
    ]


def _answer(run: RunFolder, prediction: Prediction) -> Html:
    """One run's answer with its mark in a sign, a word and a colour."""
    marks = {1.0: ("\u2713 right", "right"), 0.0: ("\u2717 wrong", "wrong")}
    words, kind = marks.get(prediction.score, (f"{bare_percent(prediction.score)} % right", "partly"))
    answer = prediction.text.strip()
    text = clipped(answer) if answer else element("em", "(no text)", class_="quiet")
    cut = f" (cut off after {count(prediction.new_tokens, 'token')})"
    ending = Html() if prediction.stopped else element("small", cut, class_="quiet")
    title = element("dt", element("span", _labelled(run)), element("span", words, class_=f"mark {kind}"))
    return element("div", title, element("dd", text, ending))


def _figure(figures: list[go.Figure], figure: go.Figure, name: str, caption: str, behind: Html, heads: int = 0) -> Html:
    """A place that page.js draws into, its numbers in a table behind it; a map is as high as it has heads."""
    place = {"data_figure": f"figure-{len(figures)}", "role": "img", "aria_label": f"{name}. {caption}"}
    shape = {"class_": "plot map", "style": f"--heads: {heads}"} if heads else {"class_": "plot"}
    figures.append(figure)
    details = element("details", element("summary", "Table behind this figure"), behind)
    return element("figure", element("figcaption", caption), element("div", **shape, **place), details)


def _labelled(run: RunFolder) -> Html:
    """A run's label behind its method's colour."""
    return join([element("i", class_=f"swatch {colour_name(run.method)}", aria_hidden="true"), run.label])
