# SPDX-License-Identifier: Apache-2.0
"""Tuning runs -> a plotly figure: the loss step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .folders import RunFolder
from .plotting import colour, dash, layout, plain

if TYPE_CHECKING:
    import plotly.graph_objects as go


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
            line={"color": colour(run, "-faint"), "width": 1.2},
            legendgroup=run.label,
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=steps,
            y=run.smoothed_losses,
            name=plain(run.label),
            legendgroup=run.label,
            mode="lines",
            line={"color": colour(run), "width": 2.5, "dash": dash(run)},
            customdata=[step.loss for step in run.steps],
            hovertemplate=f"{plain(run.label)}, step %{{x}}<br>"
            "loss %{customdata:.3f}, smoothed %{y:.3f}<extra></extra>",
        )
    figure.update_layout(layout(x_title="step"))
    figure.update_yaxes(rangemode="tozero", nticks=6)
    longest = max(len(run.steps) for run in runs)
    figure.update_xaxes(dtick=1 if longest <= 10 else None, nticks=8)  # no halves of steps
    return figure
