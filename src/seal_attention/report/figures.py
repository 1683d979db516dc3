# SPDX-License-Identifier: Apache-2.0
"""Panels and boards -> plotly figures: scores over size, one line a run; scores by depth and size, one map a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .boards import Exhibit
from .folders import RunFolder
from .panels import Panel
from .plotting import OFF_THE_SQUARES, colour, dash, layout, plain, symbol
from .scores import Score
from .sizes import TOKENS, Size, unit_noun, unit_words
from .wording import SPACE, bare_percent, interval, percent, sample_size

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_LABELS = {4: 8, 9: 5}  # on an axis, by the characters of the longest: more would overlap on a phone
MOST_VALUES = 12  # columns of a map whose values are written into its squares: more would not fit a phone
MOST_BANDS = 4  # runs whose intervals are shaded: more shades would hide each other, and the bars say the same


def score_figure(exhibit: Exhibit) -> go.Figure:
    """Score over size, one line a run, with 95 % intervals as bands and bars; doubled sizes stand equally far apart."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for run in exhibit.runs:
        points = [(size, score) for size in exhibit.sizes if (score := exhibit.score(run, size))]
        amounts = [size.amount for size, _ in points]
        means = [100 * score.mean for _, score in points]
        highs, lows = [100 * score.high for _, score in points], [100 * score.low for _, score in points]
        if len(exhibit.runs) <= MOST_BANDS:
            figure.add_scatter(
                x=amounts + amounts[::-1],
                y=highs + lows[::-1],
                mode="lines",
                line={"width": 0},
                fill="toself",
                fillcolor=colour(run, "-band"),
                legendgroup=run.label,
                showlegend=False,
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=amounts,
            y=means,
            name=plain(run.label),
            legendgroup=run.label,
            mode="lines+markers",
            line={"color": colour(run), "width": 2.5, "dash": dash(run)},
            marker={
                "color": colour(run),
                "size": 9 if len(exhibit.sizes) <= MOST_VALUES else 5,
                "symbol": symbol(run),
                "line": {"color": colour(run), "width": 2},
            },
            error_y={
                "array": [high - mean for high, mean in zip(highs, means, strict=True)],
                "arrayminus": [mean - low for low, mean in zip(lows, means, strict=True)],
                "color": colour(run),
                "thickness": 1.2,
                "width": 0,
            },
            text=[f"{plain(run.label)}, {_told(exhibit, size, score)}" for size, score in points],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_layout(layout(x_title=plain(f"{unit_words(exhibit.unit)} (log scale)")), margin={"r": 24})
    for window, noted in _native_windows(exhibit.runs, exhibit):
        figure.add_scatter(
            x=[window, window],
            y=[-3, 103],
            name=plain(noted),
            mode="lines",
            line={"color": "var(--quiet)", "width": 1.2, "dash": "dot"},
            hoverinfo="skip",
        )
    ends = [math.log10(size.amount) for size in (exhibit.sizes[0], exhibit.sizes[-1])]
    room = 0.08 * (ends[1] - ends[0]) or 0.1
    named = _apart(exhibit.sizes)
    figure.update_xaxes(
        type="log",
        range=[ends[0] - room, ends[1] + room],
        showgrid=False,
        tickvals=[size.amount for size in named],
        ticktext=[size.short for size in named],
        tickangle=0,
    )
    shares = [0, 25, 50, 75, 100]
    figure.update_yaxes(range=[-3, 103], tickvals=shares, ticktext=[percent(share / 100) for share in shares])
    return figure


def depth_map_figure(panel: Panel, run: RunFolder) -> go.Figure:
    """A run's score at every depth (downwards) and size (to the right), in colours from 0 to 1 that all maps share."""
    import plotly.graph_objects as go

    squares = [[panel.score(run, size, depth) for size in panel.sizes] for depth in panel.depths]
    told = [[score and _measured(panel, score) for score in row] for row in squares]
    few = len(panel.sizes) <= MOST_VALUES
    values = [[bare_percent(score.mean) if score and few else "" for score in row] for row in squares]
    figure = go.Figure(
        go.Heatmap(
            x=[size.short for size in panel.sizes],
            y=[str(depth) for depth in panel.depths],
            z=[[score and score.mean for score in row] for row in squares],
            zmin=0,
            zmax=1,
            colorscale=[[stop / 4, f"var(--score-{stop})"] for stop in range(5)],
            showscale=False,  # the page has one scale for all maps
            xgap=1.5,
            ygap=1.5,
            text=values,
            texttemplate="%{text}",
            textfont={"size": 13, "weight": 600},
            customdata=told,
            hovertemplate=f"{plain(run.label)}, depth %{{y}}{SPACE}%, %{{x}} {plain(unit_noun(panel.unit))}<br>"
            "%{customdata}<extra></extra>",
            hoverongaps=False,
        )
    )
    figure.update_layout(layout(x_title=plain(unit_words(panel.unit))))
    for window, noted in _native_windows([run], panel):
        within = sum(size.amount <= window for size in panel.sizes)
        line = {"color": "var(--text)", "width": 2, "dash": "dot"}
        figure.add_vline(x=within - 0.5, line=line)
        figure.add_annotation(
            x=within - 0.5, y=1, yref="paper", yanchor="bottom", xanchor="center", text=plain(noted), showarrow=False
        )
        figure.update_layout(margin={"t": 24})
    columns = _spread([size.short for size in panel.sizes])
    figure.update_xaxes(type="category", showgrid=False, tickvals=columns, tickangle=0)
    figure.update_yaxes(
        type="category",
        showgrid=False,
        autorange="reversed",
        title={"text": f"depth,{SPACE}%", "font": {"size": 13}},
        tickvals=_spread([str(depth) for depth in panel.depths], 16),
        **OFF_THE_SQUARES,
    )
    return figure


def _native_windows(runs: Sequence[RunFolder], exhibit: Exhibit) -> list[tuple[int, str]]:
    """Native windows of the runs' models that lie on an axis of lengths, each with what the figure calls it."""
    if exhibit.unit != TOKENS:
        return []
    windows = sorted({run.native_window for run in runs if run.native_window})
    shortest, longest = exhibit.sizes[0].amount, exhibit.sizes[-1].amount
    shown = [window for window in windows if shortest <= window <= longest]
    return [(window, f"native window, {Size(TOKENS, window).name}") for window in shown]


def _told(exhibit: Exhibit, size: Size, score: Score) -> str:
    """What a hover says of a point, behind the run's name."""
    return f"{plain(size.name)}<br>{_measured(exhibit, score)}"


def _measured(exhibit: Exhibit, score: Score) -> str:
    share = f"{percent(score.mean)} right" if exhibit.binary else f"score {percent(score.mean)}"
    tasks = f"{score.tasks} tasks, " if score.tasks > 1 else ""
    return f"{share} ({interval(score.low, score.high)}, {tasks}{sample_size(score.n)})"


def _most(names: Sequence[str]) -> int:
    """How many of these names fit under an axis."""
    longest = max(map(len, names))
    return next((most for characters, most in MOST_LABELS.items() if longest <= characters), 2)


def _apart(sizes: Sequence[Size]) -> list[Size]:
    """The largest size and, downwards, those far enough from the last one named for their names not to touch."""
    step = math.log(sizes[-1].amount / sizes[0].amount) / _most([size.short for size in sizes])
    named = [sizes[-1]]
    for size in reversed(sizes[:-1]):
        if math.log(named[-1].amount / size.amount) >= step:
            named.append(size)
    return named[::-1]


def _spread(names: Sequence[str], most: int = 0) -> list[str]:
    """Some of the names, evenly spread: as many as fit, or at most `most`."""
    return list(names[:: math.ceil(len(names) / (most or _most(names)))])
