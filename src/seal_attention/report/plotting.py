# SPDX-License-Identifier: Apache-2.0
"""A method -> its colour, marker and dash in every figure; and the look that all figures share.

Colours are CSS variables (`var(--seal-c)`), filled in by page.js when a figure is drawn, so page.css alone decides how
a method looks, by day and by night. A method also has its own marker: colour is never the only sign.
Later runs of one method keep its marker and have a colour and a dash of their own.
"""

from __future__ import annotations

import html
from typing import Any

from .folders import RunFolder
from .wording import PREFIXED

SYMBOLS = {
    "base": "circle",
    "seal-h": "diamond",
    "seal-c": "square",
    "seal-l": "triangle-up",
}
DASHES = ("solid", "dash", "dashdot", "longdash", "longdashdot")


OFF_THE_SQUARES = {"ticks": "outside", "ticklen": 4, "tickcolor": "rgba(0,0,0,0)"}  # unseen, beside a map's labels


def colour(run: RunFolder, shade: str = "") -> str:
    return f"var(--{run.colour}{shade})"


def dash(run: RunFolder) -> str:
    """Runs given the answer's first words are dotted; later runs of one method differ by their dash."""
    return "dot" if run.method.endswith(PREFIXED) else DASHES[run.twin % len(DASHES)]


def symbol(run: RunFolder) -> str:
    """One shape a method, hollow where the answer's first words were given."""
    shape = SYMBOLS.get(run.method.removesuffix(PREFIXED), "x")
    return f"{shape}-open" if run.method.endswith(PREFIXED) else shape


def plain(text: str) -> str:
    """Text for plotly, which reads tags in names and hovers."""
    return html.escape(text, quote=False)


def layout(x_title: str) -> dict[str, Any]:
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
