# SPDX-License-Identifier: Apache-2.0
"""Sections and figures -> one HTML page that needs no network: plotly.js is inside, its policy forbids every request.

Text from models and files comes in through `element` (escaped) or as JSON without a single `<`. Should anything slip
through, it would still not run: the policy names the two scripts of the page by their hashes and allows no other.
"""

from __future__ import annotations

import base64
import hashlib
import json
import string
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ..runs import save_text
from . import sections
from .folders import RunFolder, read_runs
from .markup import Html, element, join
from .tables import Panel, finding_of, panels_of
from .wording import CONFIDENCE, chance, colour_name, count, interval, percent, signed, signed_interval, size_name

if TYPE_CHECKING:
    import plotly.graph_objects as go

POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'"
)


def build_report(folders: Sequence[Path], out: Path, title: str = "SEAL report") -> Path:
    """Write the page about the runs in `folders` to the file `out` and return it.

    Unfinished runs are shown with what they have; UsageError where a folder holds no run of `seal eval` or `seal tune`.
    """
    runs = read_runs(folders)
    tunings = [run for run in runs if run.command == "tune"]
    panels = panels_of([run for run in runs if run.command == "eval"])
    figures: list[go.Figure] = []  # the sections add theirs; their places in the page count from 0
    chapters = {
        "accuracy": ("Accuracy", [sections.accuracy(panel, figures) for panel in panels]),
        "tuning": ("Tuning", sections.tuning(tunings, figures)),
        "scales": ("What was learnt", sections.head_maps(tunings, figures)),
        "answers": ("Sample answers", [sections.samples(panel) for panel in panels]),
        "runs": ("Runs", sections.runs_and_manifests(runs)),
    }
    written = {name: chapter for name, chapter in chapters.items() if chapter[1]}
    links = [element("li", element("a", heading, href=f"#{name}")) for name, (heading, _) in written.items()]
    plotly, script = _plotly(), _file("page.js")
    page = string.Template(_file("page.html")).substitute(
        policy=POLICY.format(scripts=f"{_hash(plotly)} {_hash(script)}"),
        title=join([title]),
        style=_file("page.css"),
        headline=join(
            [*_headline(title, runs, panels), element("nav", element("ul", *links), aria_label="On this page")]
        ),
        sections="\n".join(_chapter(name, heading, parts) for name, (heading, parts) in written.items()),
        figures="\n".join(_figure_data(number, figure) for number, figure in enumerate(figures)),
        plotly=plotly,
        script=script,
    )
    save_text(out, page)
    return out


def _headline(title: str, runs: Sequence[RunFolder], panels: Sequence[Panel]) -> list[Html]:
    """The finding in one sentence, what it rests on, what the page is about, and which runs are not finished."""
    sentence, ground = _finding(panels) if panels else _loss_alone(runs)
    evaluations, tunings = (sum(run.command == command for run in runs) for command in ("eval", "tune"))
    answers = sum(len(run.predictions) for run in runs)
    holdings = [
        *([f"{count(evaluations, 'evaluation')} with {count(answers, 'answer')} in all"] if evaluations else []),
        *([count(tunings, "tuning run")] if tunings else []),
    ]
    about = (
        "SEAL learns how loud each attention head (SEAL-H) or channel (SEAL-C) of a language model should be, and "
        f"changes nothing else. This page shows {' and '.join(holdings)}."
    )
    parts = [
        element("p", title, class_="title"),
        element("h1", *sentence, "."),
        element("p", ground, class_="lede"),
        element("p", about, class_="quiet"),
    ]
    unfinished = [f"{run.folder} ({sections.holds(run)} so far)" for run in runs if not run.finished]
    if unfinished:
        advice = ". All figures use what is there; the same command typed again goes on with a run."
        parts.append(
            element("p", element("strong", "Unfinished: "), "; ".join(unfinished), advice, class_="notice", role="note")
        )
    return parts


def _finding(panels: Sequence[Panel]) -> tuple[Sequence[str], str]:
    """The headline and its ground where there are answers."""
    found = finding_of(panels)
    if found:
        gap, tokens = found.difference, found.panel.tokens(found.size)
        best = element("span", percent(found.after), class_=colour_name(found.run.method))
        base = element("span", percent(found.before), class_="base")
        size = size_name(found.size)
        return (
            (f"{found.panel.model} gets ", base, f" of answers right at {size}; with {found.run.label}, ", best),
            f"Measured on the {count(gap.n, 'question')} that both answered at their longest common size "
            f"({count(tokens, 'token')} a prompt): {signed(gap.difference)} points, {CONFIDENCE} interval "
            f"{signed_interval(gap.low, gap.high)}, {chance(gap.p_value)}.",
        )
    panel = panels[0]
    run, row = max(panel.measured(panel.sizes[-1]), key=lambda pair: pair[1].accuracy)
    share = element("span", percent(row.accuracy), class_=colour_name(run.method))
    return (
        (f"{panel.model} ({run.label}) gets ", share, f" of answers right at {size_name(panel.sizes[-1])}"),
        f"On {panel.task}: {CONFIDENCE} interval {interval(row.low, row.high)}, n = {row.n:,}. There is no pair of a "
        "base run and a tuned run to compare yet.",
    )


def _loss_alone(runs: Sequence[RunFolder]) -> tuple[Sequence[str], str]:
    """The headline and its ground where nothing was answered."""
    ground = "No answers among these runs: add folders that `seal eval` wrote to see what the tuning brought."
    for run in runs:
        if run.steps:
            return (
                f"{run.label} on {run.model}: loss from {run.steps[0].loss:.2f} to {run.smoothed_losses[-1]:.2f}",
            ), ground
    return ("These runs have nothing to show yet",), ground


def _chapter(name: str, heading: str, parts: Sequence[str]) -> Html:
    title = element("h2", heading, id=f"{name}-title")
    return element("section", title, *parts, id=name, aria_labelledby=f"{name}-title")


def _figure_data(number: int, figure: go.Figure) -> Html:
    """A figure as JSON that no HTML parser can take for markup: `<`, `>` and `&` are written as their escapes."""
    text = json.dumps(json.loads(figure.to_json()))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Html(f'<script type="application/json" id="figure-{number}">{text}</script>')


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _hash(script: str) -> str:
    """How a content security policy names an inline script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
