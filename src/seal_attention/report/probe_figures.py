# SPDX-License-Identifier: Apache-2.0
"""Bars, settings with their accuracy, and agreements of maps -> plotly figures."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .plotting import layout, plain
from .probes import Agreement, Bars, Row
from .wording import interval, percent, sample_size

if TYPE_CHECKING:
    import plotly.graph_objects as go

PATTERNS = ("", "/", "x", "\\", ".", "-", "+", "|")  # colour is never the only sign

LINE = 18  # characters of a name before it goes on in the next line, so that names fit a phone
BESIDE = 12  # of a name that stands beside others below their bars
FEW_LABELS = 8  # whose bars would be too wide


def bars_figure(bars: Bars) -> go.Figure:
    """The series beside each other at every label, on top of each other where they are the shares of one whole."""
    import plotly.graph_objects as go

    figure = go.Figure()
    labels = [plain(label) for label in bars.labels]
    stacked = bars.unit.startswith("share") and _parts_of_one(bars)
    sign = "" if stacked else "+"
    for place, (name, values) in enumerate(bars.series):
        figure.add_bar(
            x=labels,
            y=list(values),
            name=plain(name),
            customdata=labels,
            marker={
                "color": f"var(--series-{place % len(PATTERNS)})",
                "line": {"width": 0},
                "pattern": {
                    "shape": PATTERNS[place % len(PATTERNS)],
                    "fillmode": "overlay",
                    "fgcolor": "var(--paper)",
                    "size": 6,
                    "solidity": 0.25,
                },
            },
            hovertemplate=f"%{{customdata}}, {plain(name)}: %{{y:{sign}.3~g}} {plain(bars.unit)}<extra></extra>",
        )
    barmode = "stack" if stacked else "group"
    figure.update_layout(layout(x_title=""), barmode=barmode, bargap=0.15 if len(labels) > FEW_LABELS else 0.5)
    figure.update_xaxes(type="category", showgrid=False, tickangle=0)
    if len(labels) > FEW_LABELS:
        figure.update_xaxes(nticks=12)
    else:
        figure.update_xaxes(tickvals=labels, ticktext=[_lines(label, BESIDE) for label in bars.labels])
    figure.update_yaxes(
        title={"text": plain(bars.unit), "font": {"size": 13}},
        nticks=7,
        zeroline=True,
        zerolinecolor="var(--quiet)",
        zerolinewidth=1,
    )
    return figure


def _parts_of_one(bars: Bars) -> bool:
    columns = zip(*(values for _, values in bars.series), strict=True)
    return all(sum(value or 0 for value in column) <= 1.01 for column in columns) and all(
        value is None or value >= 0 for _, values in bars.series for value in values
    )


def settings_figure(rows: Sequence[Row], names: Sequence[str]) -> go.Figure:
    """A setting a line, from top to bottom: its accuracy as a point on its 95 % interval."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        x=[100 * row.accuracy for row in rows],
        y=[plain(name) for name in names],
        mode="markers",
        marker={"color": "var(--series-0)", "size": 9},
        error_x={
            "array": [100 * (row.high - row.accuracy) for row in rows],
            "arrayminus": [100 * (row.accuracy - row.low) for row in rows],
            "color": "var(--series-0)",
            "thickness": 1.2,
            "width": 0,
        },
        text=[f"{percent(row.accuracy)} ({interval(row.low, row.high)}, {sample_size(row.n)})" for row in rows],
        hovertemplate="%{y}: %{text}<extra></extra>",
    )
    figure.update_layout(layout(x_title="answered right"), margin={"r": 24})
    shares = [0, 25, 50, 75, 100]
    figure.update_xaxes(range=[-3, 103], tickvals=shares, ticktext=[percent(share / 100) for share in shares])
    figure.update_yaxes(type="category", autorange="reversed", tickvals=[plain(name) for name in names])
    return figure


def agreement_figure(agreements: Sequence[Agreement]) -> go.Figure:
    """Rank correlations of all pairs of maps, the pairs' names on both sides and the values in the squares."""
    import plotly.graph_objects as go

    names = list(dict.fromkeys(name for pair in agreements for name in (pair.first, pair.second)))
    values = {(pair.first, pair.second): pair.spearman for pair in agreements}
    squares = [[values.get((row, column), values.get((column, row))) for column in names] for row in names]
    labels = [_lines(name, LINE) for name in names]
    figure = go.Figure(
        go.Heatmap(
            x=labels,
            y=labels,
            z=squares,
            zmin=-1,
            zmax=1,
            colorscale=[[stop / 4, f"var(--map-{stop})"] for stop in range(5)],
            xgap=1.5,
            ygap=1.5,
            text=[["" if value is None else f"{value:+.2f}" for value in row] for row in squares],
            texttemplate="%{text}",
            textfont={"size": 13, "weight": 600},
            customdata=[[f"{plain(row)} and {plain(column)}" for column in names] for row in names],
            hovertemplate="%{customdata}: %{z:+.2f}<extra></extra>",
            hoverongaps=False,
            showscale=False,
        )
    )
    figure.update_layout(layout(x_title=""))
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_yaxes(type="category", showgrid=False, autorange="reversed")
    return figure


def _lines(name: str, most: int) -> str:
    """A name in lines of at most so many characters."""
    return "<br>".join(map(plain, textwrap.wrap(name, most)))
