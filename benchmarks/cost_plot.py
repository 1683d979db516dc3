# SPDX-License-Identifier: Apache-2.0
"""The `flops_*` figures of results.json -> a picture: what a token of a tuning step costs, by its context's length.

The dashed line is what it would cost if time grew as the operations do, from the shortest length on: the linears' are
the same for every token, attention's grow with the length. Needs the extra `figures` and a Chromium.

    python benchmarks/cost_plot.py docs/cost_per_token.png
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from seal_attention.errors import SealError, UsageError
from seal_attention.report.export import chromium

WIDTH, HEIGHT = 720, 380
INK, QUIET, BLUE = "#1c2430", "#6b7686", "#1f6feb"


def measured(results: Path) -> list[Mapping[str, Any]]:
    """The figures of each length that was measured, shortest first. UsageError where there are fewer than two."""
    raw = json.loads(results.read_text(encoding="utf-8"))["raw"] if results.exists() else {}
    found = [figures for name, figures in raw.items() if name.startswith("flops_")]
    if len(found) < 2:
        raise UsageError(f"{results} holds {len(found)} lengths of flops_*, and a line needs two; type `make bench`")
    return sorted(found, key=lambda figures: figures["tokens"])


def picture(lengths: list[Mapping[str, Any]]) -> go.Figure:
    """Milliseconds a token over tokens, both axes from 0 up."""
    tokens = [each["tokens"] for each in lengths]
    cost = [1000 * each["seconds_per_token"] for each in lengths]
    operations = [each["operations"] / each["tokens"] for each in lengths]
    expected = [cost[0] * own / operations[0] for own in operations]
    figure = go.Figure()
    figure.add_scatter(
        x=tokens, y=expected, name="as the operations grow", mode="lines", line={"dash": "dash", "color": QUIET}
    )
    figure.add_scatter(
        x=tokens,
        y=cost,
        name="measured",
        mode="lines+markers+text",
        text=[f"{each:.1f}" for each in cost],
        textposition="top left",
        line={"color": BLUE},
        marker={"size": 9},
    )
    axis = {"rangemode": "tozero", "gridcolor": "#e4e8ee", "zeroline": False}
    figure.update_layout(
        template="none",
        width=WIDTH,
        height=HEIGHT,
        font={"family": "sans-serif", "size": 13, "color": INK},
        margin={"l": 60, "r": 30, "t": 30, "b": 50},
        legend={"x": 0.02, "y": 0.98},
        xaxis={**axis, "title": {"text": "tokens of a context and its eight questions"}, "tickformat": ","},
        yaxis={**axis, "title": {"text": "milliseconds a token of a tuning step"}},
    )
    return figure


def draw(figure: go.Figure, path: Path) -> None:
    """Write it as a PNG."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=2, offline=True)
        page.set_content(figure.to_html(include_plotlyjs=True, config={"displayModeBar": False}))
        page.wait_for_selector(".main-svg")
        page.locator(".plotly-graph-div").screenshot(path=str(path))


if __name__ == "__main__":
    try:
        draw(picture(measured(Path(__file__).parent / "results.json")), Path(sys.argv[1]))
    except SealError as error:
        sys.exit(str(error))
