# SPDX-License-Identifier: Apache-2.0
"""Sections and figures -> one HTML page that needs no network: plotly.js is inside, its policy forbids every request.

Text from models and files comes in through `element` (escaped) or as JSON without a single `<`. Should anything slip
through, it would still not run: the policy names the two scripts of the page by their hashes and allows no other.
Images may come from the page itself alone (`data:`, `blob:`): plotly.js turns figures into PNG that way (export.py).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import string
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ..runs import save_text
from .boards import Board, Exhibit, exhibits_of, titles
from .folders import COMMANDS, RunFolder, read_runs
from .headline import finding, without_answers
from .markup import Html, element, join
from .panels import panels_of
from .sections.answers import answers_section
from .sections.board import board_section
from .sections.heads import heads_section
from .sections.panel import panel_section
from .sections.probes import probes_section
from .sections.runs import holds, runs_and_manifests
from .sections.training import tuning
from .wording import count, listed

if TYPE_CHECKING:
    import plotly.graph_objects as go

LARGEST = 5_900_000  # bytes, 4.8 million of them plotly.js: what still opens at once, and goes through a mail
POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'"
)
FACTORY = re.compile(r'\(\) => \{\s*"use strict";\s*var Plotly=.*\}(?=\)\);\s*\Z)', re.DOTALL)  # of plotly.js


def build_report(folders: Sequence[Path], out: Path, title: str = "SEAL report") -> Path:
    """Write the page about the runs in `folders` to the file `out` and return it.

    Unfinished runs are shown with what they have; UsageError where a folder holds no run that a report shows.
    """
    runs = read_runs(folders)
    tunings, probes = ([run for run in runs if run.command == command] for command in ("tune", "probe"))
    exhibits = exhibits_of(panels_of([run for run in runs if run.command == "eval"]))
    figures: list[go.Figure] = []  # the sections add theirs; their places in the page count from 0
    plotly, script = _plotly(), _file("page.js") + _file("heads.js")
    scores, tuned = _scores(exhibits, figures), tuning(tunings, figures)
    heads, probed = heads_section([*tunings, *probes], figures), probes_section(probes, figures)
    data = "\n".join(_figure_data(number, figure) for number, figure in enumerate(figures))
    manifests = runs_and_manifests(runs)
    held = sum(len(text.encode()) for text in (plotly, data, *scores, *tuned, *heads, *probed, *manifests))
    chapters = {
        "scores": ("Accuracy" if all(exhibit.binary for exhibit in exhibits) else "Scores", scores),
        "tuning": ("Tuning", tuned),
        "heads": ("Head by head", heads),
        "probes": ("Probes", probed),
        "answers": ("Sample answers", answers_section(exhibits, room=LARGEST - held) if exhibits else []),
        "runs": ("Runs", manifests),
    }
    written = {name: chapter for name, chapter in chapters.items() if chapter[1]}
    links = [element("li", element("a", heading, href=f"#{name}")) for name, (heading, _) in written.items()]
    page = string.Template(_file("page.html")).substitute(
        policy=POLICY.format(scripts=f"{_hash(plotly)} {_hash(script)}"),
        title=join([title]),
        style=_file("page.css"),
        headline=join(
            [*_headline(title, runs, exhibits), element("nav", element("ul", *links), aria_label="On this page")]
        ),
        sections="\n".join(_chapter(name, heading, parts) for name, (heading, parts) in written.items()),
        figures=data,
        plotly=plotly,
        script=script,
    )
    save_text(out, page)
    return out


def _headline(title: str, runs: Sequence[RunFolder], exhibits: Sequence[Exhibit]) -> list[Html]:
    """The finding in one sentence, what it rests on, what the page is about, and which runs are not finished."""
    sentence, ground, effective = finding(exhibits) if exhibits else without_answers(runs)
    evaluations, tunings, probes = (sum(run.command == command for run in runs) for command in COMMANDS)
    answers = sum(len(run.predictions) for run in runs)
    holdings = [
        *([f"{count(evaluations, 'evaluation')} with {count(answers, 'answer')} in all"] if evaluations else []),
        *([count(tunings, "tuning run")] if tunings else []),
        *([count(probes, "probe")] if probes else []),
    ]
    about = (
        "SEAL learns how loud each attention head (SEAL-H) or channel (SEAL-C) of a language model should be, and "
        f"changes nothing else. This page shows {listed(holdings)}."
    )
    parts = [
        element("p", title, class_="title"),
        element("h1", *sentence, "."),
        element("p", ground, class_="lede"),
        effective,
        element("p", about, class_="quiet"),
    ]
    unfinished = [f"{run.folder} ({holds(run)} so far)" for run in runs if not run.finished]
    if unfinished:
        advice = ". All figures use what is there; the same command typed again goes on with a run."
        parts.append(
            element("p", element("strong", "Unfinished: "), "; ".join(unfinished), advice, class_="notice", role="note")
        )
    return parts


def _scores(exhibits: Sequence[Exhibit], figures: list[go.Figure]) -> list[Html]:
    """A section a task or benchmark, with links to each where there are several."""
    names = titles(exhibits)
    links = [element("li", element("a", name, href=f"#scores-{place}")) for place, name in enumerate(names)]
    parts = [element("ul", *links, class_="links")] if len(links) > 1 else []
    for place, (name, exhibit) in enumerate(zip(names, exhibits, strict=True)):
        parts.append(element("h3", name, id=f"scores-{place}"))
        section = board_section(exhibit, figures) if isinstance(exhibit, Board) else panel_section(exhibit, figures)
        parts.append(section)
    return parts


def _chapter(name: str, heading: str, parts: Sequence[str]) -> Html:
    title = element("h2", heading, id=f"{name}-title")
    return element("section", title, *parts, id=name, aria_labelledby=f"{name}-title")


def _figure_data(number: int, figure: go.Figure) -> Html:
    """A figure as JSON that no HTML parser can take for markup: `<`, `>` and `&` are written as their escapes."""
    text = json.dumps(json.loads(figure.to_json()), ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Html(f'<script type="application/json" id="figure-{number}">{text}</script>')


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    """plotly.js with the function that makes it in parentheses: browsers then compile it whole as they come to it.

    Without them V8 skims its 4.8 MB first and compiles them when the function is called, a few lines on.
    """
    from plotly.offline import get_plotlyjs

    return FACTORY.sub(r"(\g<0>)", str(get_plotlyjs()))


def _hash(script: str) -> str:
    """How a content security policy names an inline script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
