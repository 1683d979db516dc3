# SPDX-License-Identifier: Apache-2.0
"""A panel -> its section: the scores by size, maps by depth, the curve over size, the differences from base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..boards import Exhibit
from ..figures import depth_map_figure, score_figure
from ..folders import RunFolder
from ..headline import effective_rule, effective_words
from ..markup import Html, element, join, table
from ..panels import Panel, base_of
from ..parts import counts, figure_place, folded, gain_lines, labelled, loose, rules_note, score_lines, small
from ..scores import Gain, Score
from ..sizes import TOKENS, Size
from ..wording import CONFIDENCE, DASH, PREFIXED, SPACE, count, interval, percent, sample_size

if TYPE_CHECKING:
    import plotly.graph_objects as go

LONG = 12  # sizes: more rows than this are folded away, so that what follows is found


def panel_section(panel: Panel, figures: list[go.Figure]) -> Html:
    """Everything about one task of one model."""
    what = "Share of the questions answered right" if panel.binary else "Mean score"
    together = ", all depths together" if panel.depths else ""
    kind = "Wilson interval" if panel.binary else "interval (normal)"
    caption = f"{what}{together}, above its {CONFIDENCE} {kind}.{rules_note(panel.rules)}"
    rows = [score_row(panel.scores(size), _size_title(panel, size)) for size in panel.sizes]
    several = len(panel.sizes) > 1
    if several:
        effective = [loose(effective_words(panel, run)) for run in panel.runs]
        rows.append([f"Effective {'length' if panel.unit == TOKENS else 'size'}", *effective])
    scores = table(caption, ["Size", *map(labelled, panel.runs)], rows)
    maps = _depth_maps(panel, figures) if panel.depths else Html()
    long = len(panel.sizes) > LONG
    parts = [maps, folded(f"Scores at all {count(len(panel.sizes), 'size')}", scores)] if long else [scores]
    notes = [f"Effective: {effective_rule(panel)}"] if several else []
    if any(run.method.endswith(PREFIXED) for run in panel.runs):
        notes.append("-prefixed: the answer\u2019s first words were already written for the model.")
    if any(panel.mixes_depths(size) for size in panel.sizes):
        notes.append("The runs were asked at different depths, so their means over depths are not of the same kind.")
    parts += [element("p", note, class_="note") for note in notes]
    if not long:
        parts.append(maps)
    if several and panel.unit:
        parts.append(score_curve(panel, figures))
    gained = differences(panel.runs, [(size.name, panel, size) for size in panel.sizes], "Size")
    return join([*parts, folded("Difference from base at every size", gained) if long and gained else gained])


def score_row(scores: Sequence[Score | None], title: str) -> list[str]:
    """A row of scores, a column a run; `title` names the row, and how many questions stand behind it is said once."""
    total, each = counts([score.n if score else None for score in scores])
    cells = [join([score_lines(s), small(n)]) if s else DASH for s, n in zip(scores, each, strict=True)]
    return [join([title, small(total)]), *cells]


def score_curve(exhibit: Exhibit, figures: list[go.Figure]) -> Html:
    """The figure over size, and the table of its points."""
    points = [
        [
            run.label,
            size.name,
            f"{score.tokens:,.0f}",
            *map(percent, (score.mean, score.low, score.high)),
            f"{score.n:,}",
        ]
        for run in exhibit.runs
        for size in exhibit.sizes
        if (score := exhibit.score(run, size))
    ]
    what = "Right" if exhibit.binary else "Score"
    header = ["Run", "Size", "Prompt tokens", what, "Low", "High", "n"]
    behind = table("The points of the figure", header, points, "numbers")
    by = "by length of the prompt" if exhibit.unit == TOKENS else "by size"
    share = "Share answered right" if exhibit.binary else "Mean score"
    together = ", all depths together" if isinstance(exhibit, Panel) and exhibit.depths else ""
    caption = f"{share} {by}{together}, with {CONFIDENCE} intervals."
    name = f"{exhibit.task}, {share[0].lower()}{share[1:]} {by}"
    return figure_place(figures, score_figure(exhibit), name, caption, behind, runs=len(exhibit.runs))


def differences(runs: Sequence[RunFolder], rows: Sequence[tuple[str, Exhibit, Size]], corner: str) -> Html:
    """What each run gained over base, a row for each (title, where, size); words where there is no base run."""
    compared = [run for run in runs if base_of(run, runs)]
    if not any(run.method.startswith("base") for run in runs):
        advice = "None of these folders holds answers of the base model to take differences from; add one that does."
        return element("p", advice, class_="note")
    if not compared:
        return Html()
    gains = [(title, [where.gain(run, size) for run in compared]) for title, where, size in rows]
    tested = any(gain and gain.p_value is not None for _, held in gains for gain in held)
    test = " and McNemar\u2019s exact test" if tested else ""
    caption = (
        f"Percentage points gained on the very questions that both answered, above the {CONFIDENCE} interval of the "
        f"mean paired difference{test}"
    )
    body = [_gain_row(title, held) for title, held in gains]
    return join([element("h4", "Difference from base"), table(caption, [corner, *map(labelled, compared)], body)])


def _gain_row(title: str, gains: Sequence[Gain | None]) -> list[str]:
    total, each = counts([gain.n if gain else None for gain in gains])
    cells = [join([gain_lines(gain), small(n)]) if gain else DASH for gain, n in zip(gains, each, strict=True)]
    return [join([title, small(total)]), *cells]


def _depth_maps(panel: Panel, figures: list[go.Figure]) -> Html:
    """A map a run, all on one colour scale, which stands above them once."""
    maps = []
    for run in panel.runs:
        header = ["Depth", *(size.name for size in panel.sizes)]
        rows = [
            [f"{depth}{SPACE}%", *(_square(panel.score(run, size, depth)) for size in panel.sizes)]
            for depth in panel.depths
        ]
        behind = table(f"{run.label}: score by depth and size, {CONFIDENCE} interval, n", header, rows, "numbers")
        figure = depth_map_figure(panel, run)
        name = f"Score of {run.label} by depth and size"
        maps.append(figure_place(figures, figure, name, labelled(run), behind, "depths", rows=len(panel.depths)))
    share = "Share answered right" if panel.binary else "Mean score"
    legend = f"{share}, in per cent, by where the fact stands (0{SPACE}%: at the start) and how long the text is."
    scale = element(
        "p", f"0{SPACE}%", element("i", class_="scale", aria_hidden="true"), f"100{SPACE}%", class_="legend"
    )
    return join(
        [
            element("h4", "By depth"),
            element("p", legend, class_="note"),
            scale,
            element("div", *maps, class_="maps", style=f"--columns: {len(panel.sizes)}"),
        ]
    )


def _square(score: Score | None) -> str:
    return f"{percent(score.mean)} ({interval(score.low, score.high)}, {sample_size(score.n)})" if score else DASH


def _size_title(panel: Panel, size: Size) -> Html:
    if panel.unit == TOKENS:
        return join([size.name])
    scores = [score for score in panel.scores(size) if score]
    tokens = count(sum(score.tokens for score in scores) / len(scores), "token")
    return join([size.name, small(f"{tokens} a prompt")])
