# SPDX-License-Identifier: Apache-2.0
"""Scores, gains and figures -> the small pieces of HTML that all sections are built of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .folders import RunFolder
from .markup import Html, element, join
from .scores import Gain, Score
from .wording import chance, interval, percent, rule_name, sample_size, signed, signed_interval

if TYPE_CHECKING:
    import plotly.graph_objects as go


def labelled(run: RunFolder) -> Html:
    """A run's label behind its method's colour."""
    return join([element("i", class_=f"swatch {run.colour}", aria_hidden="true"), run.label])


def breakable(name: str) -> Html:
    """A name that may go on in the next line after an underscore, so that a phone need not cut it anywhere."""
    words = name.split("_")
    return join([part for word in words[:-1] for part in (f"{word}_", element("wbr"))] + words[-1:])


def small(text: str) -> Html:
    """A line in small print under a cell's figure, nothing for no text."""
    return element("small", text) if text else Html()


def loose(words: str) -> Html:
    """Words in a cell that may take several lines: on a phone, and where they are many."""
    return element("span", words, class_="loose")


def folded(summary: str, content: Html, fold: bool = True) -> Html:
    """Content that opens at a click on its summary; as it is where it need not be folded."""
    return element("details", element("summary", summary), content) if fold else content


def score_lines(score: Score) -> Html:
    """A score, beside it those by the task's other rules, below it its interval."""
    others = [element("span", f" {percent(mean)}", class_="other-rule") for mean in score.others.values()]
    return join([element("strong", percent(score.mean)), *others, small(interval(score.low, score.high))])


def gain_lines(gain: Gain) -> Html:
    """What was gained over base, its interval and, where it can be tested, by what chance."""
    test = chance(gain.p_value) if gain.p_value is not None else ""
    return join([element("strong", signed(gain.difference)), small(signed_interval(gain.low, gain.high)), small(test)])


def counts(numbers: Sequence[int | None]) -> tuple[str, list[str]]:
    """How many questions stand behind a row: said once where all cells have as many, else in every cell."""
    words = [sample_size(number) if number else "" for number in numbers]
    distinct = {word for word in words if word}
    return ("", words) if len(distinct) > 1 else ("".join(distinct), [""] * len(words))


def rules_note(rules: Sequence[str]) -> str:
    """Which score is which, where a task has several."""
    if len(rules) < 2:
        return ""
    others = " and ".join(rule_name(rule) for rule in rules[1:])
    return f" In bold by the benchmark\u2019s own rule ({rule_name(rules[0])}), beside it by: {others}."


def figure_place(
    figures: list[go.Figure],
    figure: go.Figure,
    name: str,
    caption: str | Html,
    behind: Html,
    kind: str = "",
    linked: str = "",
    **shape: int,
) -> Html:
    """A place that page.js draws into, its numbers in a table behind it; `shape` sets CSS variables (rows, runs).

    In figures whose `linked` is the same a head that is pointed at in one is marked in all (heads.js).
    """
    described = {"data_figure": f"figure-{len(figures)}", "role": "img", "aria_label": name}
    style = {"style": "; ".join(f"--{key}: {value}" for key, value in shape.items())} if shape else {}
    if linked:
        label = f"{name}. The arrow keys go from head to head."
        described |= {"role": "application", "aria_label": label, "tabindex": "0", "data_heads": linked}
    figures.append(figure)
    place = element("div", class_=f"plot {kind}".strip(), **style, **described, data_name=name)
    return element("figure", element("figcaption", caption), place, folded("Table behind this figure", behind))
