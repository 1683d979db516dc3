# SPDX-License-Identifier: Apache-2.0
"""Learnt scales and what probes measured -> maps of the heads side by side, and two measures against each other.

Maps of one model are linked: a head pointed at in one is marked in all of them (heads.js).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat, zip_longest
from typing import TYPE_CHECKING

from ..folders import ADAPTER, RunFolder
from ..head_figures import QUADRANTS, head_map_figure, scatter_figure
from ..head_map import HeadMap, span_of
from ..markup import Html, element, join, table
from ..parts import figure_place, labelled
from ..probes import Scatter
from ..sizes import size_of
from ..wording import DASH, MINUS, between, capital, plain_number, signed_number

if TYPE_CHECKING:
    import plotly.graph_objects as go

LEGEND = (
    "One square a head. All maps are in the same colours, blank where a head makes no difference and the darker the "
    "farther from that; maps of the same quantity reach equally far. Point at a head, or go to a map with the Tab key "
    "and on with the arrow keys: it is marked in every figure of its model. Escape takes the mark off."
)
SCALES = (
    " A learnt scale of 1 leaves a head as it was, more makes it louder, less quieter; for SEAL-C it is the mean over "
    "the head\u2019s channels."
)


def heads_section(runs: Sequence[RunFolder], figures: list[go.Figure]) -> list[Html]:
    """The maps and scatters of every model; nothing where no run has any."""
    models = list(dict.fromkeys(run.model for run in runs if run.head_map or _probed(run)))
    tuned = any(run.head_map for run in runs)
    parts = [element("p", LEGEND + (SCALES if tuned else ""), class_="note")] if models else []
    for place, model in enumerate(models):
        if len(models) > 1:
            parts.append(element("h3", model))
        parts.append(_of_model([run for run in runs if run.model == model], f"model-{place}", figures))
    without = [run.label for run in runs if run.command == "tune" and run.finished and not run.head_map]
    if without:
        parts.append(element("p", f"No map for {', '.join(without)}: {ADAPTER} holds no head scales.", class_="note"))
    return parts


def _probed(run: RunFolder) -> bool:
    return run.probe is not None and bool(run.probe.maps or run.probe.scatters)


def _of_model(runs: Sequence[RunFolder], linked: str, figures: list[go.Figure]) -> Html:
    maps = [(run, run.head_map) for run in runs if run.head_map]
    maps += [(run, held) for run in runs if run.probe for held in run.probe.maps]
    spans = {name: span_of([held for _, held in maps if held.name == name]) for name in {held.name for _, held in maps}}
    places = [_map_place(run, held, spans[held.name], linked, figures) for run, held in maps]
    scatters = [(run, scatter) for run in runs if run.probe for scatter in run.probe.scatters]
    grid = [element("div", *places, class_="maps heads")] if places else []
    pairs = [_scatter_place(run, scatter, linked, figures) for run, scatter in scatters]
    said = element("p", class_="pointed unseen", role="status", data_heads=linked)  # for screen readers: all values
    return join([*grid, *pairs, said])


def _map_place(run: RunFolder, held: HeadMap, span: float, linked: str, figures: list[go.Figure]) -> Html:
    """One map under what it shows, with the heads that stand out in it."""
    name = capital(held.title) + _at(held) if held.title else f"Learnt scales of {run.label}"
    ends_of = zip(held.low, held.high, strict=True) if held.low and held.high else repeat(((), ()))
    rows = [
        [f"layer {layer}", *(_cell(*told) for told in zip_longest(row, *ends))]
        for layer, row, ends in zip(held.layers, held.values, ends_of, strict=False)
    ]
    header = ["Layer", *(f"head {head}" for head in range(held.heads))]
    unit = f" ({held.unit})" if held.unit else ""
    behind = table(f"{run.label}: {name}{unit}, every head", header, rows, "numbers")
    caption = _caption(run, name, _outstanding(held))
    figure = head_map_figure(held, span)
    named = f"{name}, {run.label}" if held.title else name
    return figure_place(figures, figure, named, caption, behind, "map", linked, rows=held.heads)


def _caption(run: RunFolder, name: str, note: str) -> Html:
    """What a figure shows, of which run; below it heads.js tells the value of the head that is pointed at."""
    of_run = element("small", labelled(run), f". {note}")
    return join([name, of_run, element("small", "\u00a0", class_="told", aria_hidden="true")])


def _told(value: float, held: HeadMap) -> str:
    """A value as the heads that stand out have it: a change with its sign, a scale with two decimals."""
    if held.noun:
        return f"{value:.2f}".replace("-", MINUS)
    return signed_number(value) if held.signed else plain_number(value)


def _cell(value: float | None, low: float | None, high: float | None) -> str:
    return DASH if value is None else plain_number(value) + between(low, high)


def _at(held: HeadMap) -> str:
    """The size that a map was measured at, where its title does not say it."""
    said = all(f"{amount:,}" in held.title or str(amount) in held.title for amount in held.cell.values())
    return "" if said else f", at {size_of(held.cell).name}"


def _outstanding(held: HeadMap) -> str:
    """The highest and the lowest head, where heads differ."""
    if not held.measured:
        return "No head has a value."
    lowest, highest = (f"layer {layer}, head {head} ({_told(value, held)})"
                       for value, layer, head in (min(held.measured), max(held.measured)))  # fmt: skip
    if min(held.measured)[0] == max(held.measured)[0]:
        return f"All heads have the same value ({_told(held.measured[0][0], held)})."
    words = ("Loudest", "Quietest") if held.noun else ("Highest", "Lowest")
    return f"{words[0]}: {highest}. {words[1]}: {lowest}."


def _scatter_place(run: RunFolder, scatter: Scatter, linked: str, figures: list[go.Figure]) -> Html:
    """Two measures against each other, with how many heads each quadrant holds."""
    rows = [
        [f"layer {p.layer}, head {p.head}", plain_number(p.x), plain_number(p.y), QUADRANTS[p.quadrant][0]]
        for p in scatter.points
    ]
    header = ["Head", scatter.x_title, scatter.y_title, "Quadrant"]
    behind = table(f"{run.label}: {scatter.title}, every head", header, rows, "numbers")
    caption = _caption(
        run, scatter.title, f"One point a head ({len(scatter.points):,}); Q1 to Q4 by the signs of both."
    )
    figure = scatter_figure(scatter)
    return figure_place(figures, figure, f"{scatter.title}, {run.label}", caption, behind, "scatter", linked)
