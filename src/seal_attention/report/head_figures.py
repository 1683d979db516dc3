# SPDX-License-Identifier: Apache-2.0
"""Maps of heads, pairs of measures and channels -> plotly figures in colours that leave the neutral value blank.

Layers and heads are categories, so that a model whose attention stands in every fourth layer has no gaps; heads.js
finds a head by its layer and number (maps) or by its point's `customdata` (scatters).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .head_map import HeadMap
from .plotting import OFF_THE_SQUARES, layout, plain
from .probes import Scatter, Strip
from .wording import MINUS, between, plain_number

if TYPE_CHECKING:
    import plotly.graph_objects as go

QUADRANTS = {
    1: ("Q1 (+, +)", "circle"),  # the signs of (x, y)
    2: (f"Q2 ({MINUS}, +)", "diamond"),
    3: (f"Q3 ({MINUS}, {MINUS})", "square"),
    4: (f"Q4 (+, {MINUS})", "triangle-up"),
    0: ("on an axis", "circle-open"),
}
DIVERGING = [[stop / 4, f"var(--map-{stop})"] for stop in range(5)]


def head_map_figure(held: HeadMap, span: float) -> go.Figure:
    """A value a head, layers from left to right and heads from top to bottom.

    `span` is how far from the neutral value the colours reach, in both directions; maps of one quantity share it.
    """
    import plotly.graph_objects as go

    figure = go.Figure(
        go.Heatmap(
            x=[str(layer) for layer in held.layers],
            y=[str(head) for head in range(held.heads)],
            z=[[_short(value) for value in row] for row in _by_head(held, held.values)],
            zmin=held.neutral - span,
            zmax=held.neutral + span,
            colorscale=DIVERGING,
            xgap=1,
            ygap=1,
            customdata=_intervals(held),
            hovertemplate=f"layer %{{x}}, head %{{y}}: {_read_out(held)}%{{customdata}}<extra></extra>"
            if held.low
            else f"layer %{{x}}, head %{{y}}: {_read_out(held)}<extra></extra>",
            hoverongaps=False,
            colorbar=_bar(held.neutral, span),
        )
    )
    figure.update_layout(layout(x_title="layer"))
    figure.update_xaxes(type="category", showgrid=False, nticks=10, tickangle=0)
    figure.update_yaxes(
        type="category",
        showgrid=False,
        autorange="reversed",
        title={"text": "head", "font": {"size": 13}},
        nticks=9,
    )
    return figure


def scatter_figure(scatter: Scatter) -> go.Figure:
    """A point a head, coloured by its quadrant, with the axes through 0 that part the quadrants."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for quadrant, (name, symbol) in QUADRANTS.items():
        points = [point for point in scatter.points if point.quadrant == quadrant]
        if points:
            figure.add_scatter(
                x=[_short(point.x) for point in points],
                y=[_short(point.y) for point in points],
                customdata=[[point.layer, point.head] for point in points],
                name=f"{name} ({len(points)})",
                mode="markers",
                marker={
                    "color": f"var(--quadrant-{quadrant})",
                    "symbol": symbol,
                    "size": 8,
                    "opacity": 0.75,  # heads in one place add up to a darker point
                },
                hovertemplate="layer %{customdata[0]}, head %{customdata[1]}<br>"
                f"{plain(scatter.x_title)}: %{{x:+.3~g}}<br>{plain(scatter.y_title)}: %{{y:+.3~g}}<extra></extra>",
            )
    figure.update_layout(layout(x_title=plain(scatter.x_title)))
    zero = {"zeroline": True, "zerolinecolor": "var(--quiet)", "zerolinewidth": 1, "nticks": 7}
    figure.update_xaxes(**zero)
    figure.update_yaxes(title={"text": plain(scatter.y_title), "font": {"size": 13}}, **zero)
    return figure


def strips_figure(strips: Sequence[Strip], names: Sequence[str]) -> go.Figure:
    """A row a head and a square a channel; all rows share one span."""
    import plotly.graph_objects as go

    channels = max(len(strip.values) for strip in strips)
    span = max([0.0, *(abs(value) for strip in strips for value in strip.values if value is not None)]) or 0.01
    figure = go.Figure(
        go.Heatmap(
            x=list(range(channels)),
            y=[plain(name) for name in names],
            z=[[*map(_short, strip.values), *[None] * (channels - len(strip.values))] for strip in strips],
            zmin=-span,
            zmax=span,
            colorscale=DIVERGING,
            ygap=3,
            hovertemplate=f"%{{y}}, channel %{{x}}: %{{z:+.3~g}} {plain(strips[0].unit)}<extra></extra>",
            hoverongaps=False,
            colorbar=_bar(0.0, span),
        )
    )
    figure.update_layout(layout(x_title="channel"))
    figure.update_xaxes(showgrid=False, nticks=9)
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed", **OFF_THE_SQUARES)
    return figure


def _by_head(held: HeadMap, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Layers of heads -> heads of layers, None where a layer has fewer heads."""
    return [[row[head] if head < len(row) else None for row in rows] for head in range(held.heads)]


def _intervals(held: HeadMap) -> list[list[str]] | None:
    """What a hover says behind each value, where the values have intervals; with plotly's own minus sign."""
    if not held.low or not held.high:
        return None
    ends = [list(zip(lows, highs, strict=True)) for lows, highs in zip(held.low, held.high, strict=True)]
    return [[between(*pair).replace(MINUS, "-") if pair else "" for pair in row] for row in _by_head(held, ends)]


def _read_out(held: HeadMap) -> str:
    """How a hover tells a value: a change with its sign."""
    sign = "+" if held.signed else ""
    return " ".join(filter(None, (held.noun, f"%{{z:{sign}.3~g}}", plain(held.unit))))


def _short(value: float | None) -> float | None:
    """Four significant digits: more would fill the page, and nobody reads them off a colour."""
    return value if not value else round(value, 3 - math.floor(math.log10(abs(value))))


def _bar(neutral: float, span: float) -> dict[str, Any]:
    """A colour bar that tells the neutral value and both ends."""
    ticks = [neutral - span, neutral, neutral + span]
    look = {"thickness": 10, "outlinewidth": 0, "x": 1.01, "xpad": 4, "len": 1.0}
    return {**look, "tickvals": ticks, "ticktext": [plain_number(tick) for tick in ticks]}
