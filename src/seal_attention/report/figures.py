# SPDX-License-Identifier: Apache-2.0
"""Plain rows -> plotly figures.

Colours are CSS variables (`var(--seal-c)`), filled in by page.js when a figure is drawn, so page.css alone decides how
a method looks, by day and by night. A method also has its own marker and dash: colour is never the only sign.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .folders import HeadMap, RunFolder
from .tables import Panel
from .wording import PREFIXED, colour_name, interval, percent, size_name

if TYPE_CHECKING:
    import plotly.graph_objects as go

SYMBOLS = {
    "base": "circle",
    "seal-h": "diamond",
    "seal-c": "square",
    "seal-l": "triangle-up",
}
DASHES = ("solid", "dash", "dashdot", "longdash", "longdashdot")
MOST_LABELLED_SIZES = 8  # beyond that their names would overlap on a phone


def accuracy_figure(panel: Panel) -> go.Figure:
    """Accuracy over prompt length, one line a run, with 95 % intervals as bands and bars."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for run in panel.runs:
        points = [(size, row) for size in panel.sizes if (row := panel.accuracy(size, run))]
        tokens = [row.tokens for _, row in points]
        highs, lows = [100 * row.high for _, row in points], [100 * row.low for _, row in points]
        figure.add_scatter(
            x=tokens + tokens[::-1],
            y=highs + lows[::-1],
            mode="lines",
            line={"width": 0},
            fill="toself",
            fillcolor=_colour(run, "-band"),
            legendgroup=run.label,
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=tokens,
            y=[100 * row.accuracy for _, row in points],
            name=_plain(run.label),
            legendgroup=run.label,
            mode="lines+markers",
            line={"color": _colour(run), "width": 2.5, "dash": _dash(run)},
            marker={
                "color": _colour(run),
                "size": 9,
                "symbol": _symbol(run),
                "line": {"color": _colour(run), "width": 2},
            },
            error_y={
                "array": [high - 100 * row.accuracy for high, (_, row) in zip(highs, points, strict=True)],
                "arrayminus": [100 * row.accuracy - low for low, (_, row) in zip(lows, points, strict=True)],
                "color": _colour(run),
                "thickness": 1.2,
                "width": 0,
            },
            text=[
                f"{_plain(run.label)}, {size_name(size)} ({row.tokens:,.0f} tokens)<br>{percent(row.accuracy)} right "
                f"({interval(row.low, row.high)}, n = {row.n})"
                for size, row in points
            ],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_layout(_layout(x_title="prompt tokens (log scale)"), margin={"r": 24})
    ends = [math.log10(panel.tokens(size)) for size in (panel.sizes[0], panel.sizes[-1])]
    room = 0.08 * (ends[1] - ends[0]) or 0.1
    figure.update_xaxes(type="log", range=[min(ends) - room, max(ends) + room], showgrid=False)
    if len(panel.sizes) <= MOST_LABELLED_SIZES:
        tokens = [panel.tokens(size) for size in panel.sizes]
        names = [
            f"{count:,.0f}" if size is None else f"{count:,.0f}<br>{size_name(size)}"
            for size, count in zip(panel.sizes, tokens, strict=True)
        ]
        figure.update_xaxes(tickvals=tokens, ticktext=names)
    shares = [0, 25, 50, 75, 100]
    figure.update_yaxes(range=[-3, 103], tickvals=shares, ticktext=[percent(share / 100) for share in shares])
    return figure


def loss_figure(runs: Sequence[RunFolder]) -> go.Figure:
    """The loss of every tuning run: each step's in a light line, the smoothed one in a strong line."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for run in runs:
        steps = [step.step for step in run.steps]
        figure.add_scatter(
            x=steps,
            y=[step.loss for step in run.steps],
            mode="lines",
            line={"color": _colour(run, "-faint"), "width": 1.2},
            legendgroup=run.label,
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=steps,
            y=run.smoothed_losses,
            name=_plain(run.label),
            legendgroup=run.label,
            mode="lines",
            line={"color": _colour(run), "width": 2.5, "dash": _dash(run)},
            customdata=[step.loss for step in run.steps],
            hovertemplate=f"{_plain(run.label)}, step %{{x}}<br>"
            "loss %{customdata:.3f}, smoothed %{y:.3f}<extra></extra>",
        )
    figure.update_layout(_layout(x_title="step"))
    figure.update_yaxes(rangemode="tozero", nticks=6)
    longest = max(len(run.steps) for run in runs)
    figure.update_xaxes(dtick=1 if longest <= 10 else None, nticks=8)  # no halves of steps
    return figure


def head_map_figure(head_map: HeadMap, span: float) -> go.Figure:
    """Learnt scales, layers from left to right and heads from top to bottom, in colours that leave 1 blank.

    `span` is how far from 1 the colours reach, in both directions; maps of one page share it.
    """
    import plotly.graph_objects as go

    heads = range(max(len(row) for row in head_map.scales))
    columns = [[row[head] if head < len(row) else None for row in head_map.scales] for head in heads]
    figure = go.Figure(
        go.Heatmap(
            x=list(head_map.layers),
            y=list(heads),
            z=columns,
            zmin=1 - span,
            zmax=1 + span,
            colorscale=[[stop / 4, f"var(--map-{stop})"] for stop in range(5)],
            xgap=1.5,
            ygap=1.5,
            hovertemplate="layer %{x}, head %{y}: scale %{z:.2f}<extra></extra>",
            hoverongaps=False,
            colorbar={
                "thickness": 10,
                "outlinewidth": 0,
                "tickformat": ".2f",
                "nticks": 5,
                "x": 1.01,
                "xpad": 4,
                "len": 1.0,
            },
        )
    )
    figure.update_layout(_layout(x_title="layer"))
    figure.update_xaxes(showgrid=False, nticks=10)
    figure.update_yaxes(showgrid=False, autorange="reversed", title={"text": "head", "font": {"size": 13}}, nticks=9)
    return figure


def span_of(head_maps: Sequence[HeadMap]) -> float:
    """The farthest that any scale is from 1, never 0: what the colours of all maps have to reach."""
    return max([0.01, *(abs(scale - 1) for head_map in head_maps for row in head_map.scales for scale in row)])


def _colour(run: RunFolder, shade: str = "") -> str:
    return f"var(--{colour_name(run.method)}{shade})"


def _dash(run: RunFolder) -> str:
    """Runs given the answer's first words are dotted; later runs of one method differ by their dash."""
    return "dot" if run.method.endswith(PREFIXED) else DASHES[run.twin % len(DASHES)]


def _symbol(run: RunFolder) -> str:
    """One shape a method, hollow where the answer's first words were given."""
    shape = SYMBOLS.get(run.method.removesuffix(PREFIXED), "x")
    return f"{shape}-open" if run.method.endswith(PREFIXED) else shape


def _plain(text: str) -> str:
    """Text for plotly, which reads tags in names and hovers."""
    return html.escape(text, quote=False)


def _layout(x_title: str) -> dict[str, Any]:
    """What all figures share: a clear ground, quiet axes, the page's font, and no zooming under a scrolling thumb."""
    axis = {
        "gridcolor": "var(--line)",
        "zeroline": False,
        "ticks": "",
        "fixedrange": True,
        "automargin": True,
        "separatethousands": True,
    }
    return {
        "template": "none",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "var(--font)", "size": 13, "color": "var(--quiet)"},
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "hoverlabel": {
            "bgcolor": "var(--card)",
            "bordercolor": "var(--line)",
            "font": {"color": "var(--text)", "size": 13},
        },
        "hovermode": "closest",
        "dragmode": False,
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.02,
            "yanchor": "bottom",
            "font": {"color": "var(--text)"},
        },
        "xaxis": {**axis, "title": {"text": x_title, "standoff": 10, "font": {"size": 13}}},
        "yaxis": axis,
    }
