# SPDX-License-Identifier: Apache-2.0
"""Panels and boards -> questions to read, the answers of all runs side by side, as many as the page can carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from ...samples import Prediction
from ..boards import Board, Exhibit, titles
from ..folders import RunFolder
from ..markup import Html, element
from ..panels import Panel
from ..parts import labelled
from ..sizes import DEPTH, Size
from ..wording import SPACE, clipped, count, percent

MOST_A_SIZE = 10  # questions of one task and size
ALLOWANCE = 500_000  # bytes of questions and answers on a page that has room for them
ASKED, ANSWERED = 400, 400  # characters shown of a question and of an answer


@dataclass
class Shelf:
    """The questions of one task at one size, in the order to show them, and those that the page holds so far."""

    panel: Panel
    size: Size
    questions: Sequence[Mapping[str, Prediction]]  # the answers by the run's label
    shown: list[Html]


def answers_section(exhibits: Sequence[Exhibit], room: int) -> list[Html]:
    """Questions of every task and size, one of each in turn; how many are left out is said. `room` is in bytes."""
    stands = [[_shelves(panel) for panel in _panels(exhibit)] for exhibit in exhibits]  # a list a task, a shelf a size
    shelves = [shelf for stand in stands for shelf in chain(*stand)]
    _fill(shelves, min(room, ALLOWANCE))
    parts = [element("p", _note(shelves), class_="note")]
    for title, exhibit, stand in zip(titles(exhibits), exhibits, stands, strict=True):
        parts.append(element("h3", title))
        for held in stand:
            if isinstance(exhibit, Panel):
                parts += [_drawer(shelf.size.name, [shelf], *shelf.shown) for shelf in held]
            elif len(held) == 1:
                parts.append(_drawer(held[0].panel.task, held, *held[0].shown))
            else:
                drawers = [_drawer(shelf.size.name, [shelf], *shelf.shown) for shelf in held]
                parts.append(_drawer(held[0].panel.task, held, element("div", *drawers, class_="inner")))
    return parts


def _panels(exhibit: Exhibit) -> Sequence[Panel]:
    return exhibit.panels if isinstance(exhibit, Board) else (exhibit,)


def _shelves(panel: Panel) -> list[Shelf]:
    return [Shelf(panel, size, ranked(panel, size), []) for size in panel.sizes]


def ranked(panel: Panel, size: Size) -> list[Mapping[str, Prediction]]:
    """All questions of a task and size, every depth in turn; first where runs differ, then the lower scores."""
    return [row for row in chain(*zip_longest(*(_ranked_cell(panel, size, d) for d in panel.depths or [None]))) if row]


def _ranked_cell(panel: Panel, size: Size, depth: int | None) -> list[Mapping[str, Prediction]]:
    columns = {run.label: panel.answers(run, size, depth) for run in panel.runs}
    questions = dict.fromkeys(question for column in columns.values() for question in column)
    rows = [{label: column[q] for label, column in columns.items() if q in column} for q in questions]
    scores = [[prediction.score for prediction in row.values()] for row in rows]
    order = sorted(range(len(rows)), key=lambda i: (len(set(scores[i])) == 1, sum(scores[i]) / len(scores[i])))
    return [rows[i] for i in order]  # sorting is stable: otherwise in the order they were asked


def _fill(shelves: Sequence[Shelf], room: int) -> None:
    """One question of every shelf in turn, until each has `MOST_A_SIZE` (or one a depth) or there is no room left."""
    for place in range(max(max(MOST_A_SIZE, len(shelf.panel.depths)) for shelf in shelves)):
        for shelf in shelves:
            if place < min(len(shelf.questions), max(MOST_A_SIZE, len(shelf.panel.depths))):
                article = _article(shelf, shelf.questions[place])
                room -= len(article.encode())
                if room < 0:
                    return
                shelf.shown.append(article)


def _note(shelves: Sequence[Shelf]) -> str:
    total, shown = _counted(shelves)
    order = "first those where the runs differ, then those with the lowest scores"
    if shown == total:
        return f"All {count(total, 'question')}; of every size {order}."
    return (
        f"{shown:,} of {count(total, 'question')}: as many of every task and size, {order}. That is no fair draw. The "
        f"other {total - shown:,} stand, with every answer, in the predictions.jsonl of the runs."
    )


def _counted(shelves: Sequence[Shelf]) -> tuple[int, int]:
    """How many questions there are, and how many of them are shown."""
    return sum(len(shelf.questions) for shelf in shelves), sum(len(shelf.shown) for shelf in shelves)


def _drawer(name: str, shelves: Sequence[Shelf], *content: Html) -> Html:
    """What some shelves hold under a line that opens it."""
    total, shown = _counted(shelves)
    held = count(total, "question") if shown == total else f"{shown:,} of {count(total, 'question')}"
    return element("details", element("summary", name, " ", element("small", held)), *content)


def _article(shelf: Shelf, answers: Mapping[str, Prediction]) -> Html:
    """One question, what was expected and what every run answered."""
    first = next(iter(answers.values()))
    asked = first.asked.strip() or f"{first.task}: {first.meta.get('key', first.question)}"
    depth = (
        [element("span", f", at depth {first.cell[DEPTH]}{SPACE}% of the text", class_="quiet")]
        if DEPTH in first.cell
        else []
    )
    expected = element("strong", clipped(" \u00b7 ".join(first.answers), ASKED))
    return element(
        "article",
        element("p", clipped(asked, ASKED), class_="asked"),
        element("p", "Expected: ", expected, *depth, class_="note"),
        _passage(first),
        element(
            "dl",
            *(_answer(run, answers[run.label]) for run in shelf.panel.runs if run.label in answers),
            class_="answers",
        ),
        class_="question",
    )


def _passage(prediction: Prediction) -> Html:
    """The fact in the text around it, marked; nothing where the prediction does not hold it."""
    held = prediction.meta.get("passage")
    if not (isinstance(held, list) and len(held) == 3):
        return Html()
    before, fact, after = map(str, held)
    text = ["In the text: \u2026", before, element("mark", clipped(fact)), after, "\u2026"]
    return element("p", *text, class_="passage")


def _answer(run: RunFolder, prediction: Prediction) -> Html:
    """One run's answer with its mark in a sign, a word and a colour."""
    marks = {1.0: ("\u2713 right", "right"), 0.0: ("\u2717 wrong", "wrong")}
    words, kind = marks.get(prediction.score, (f"score {percent(prediction.score)}", "partly"))
    answer = prediction.text.strip()
    text = clipped(answer, ANSWERED) if answer else element("em", "(no text)", class_="quiet")
    cut = f" (cut off after {count(prediction.new_tokens, 'token')})"
    ending = Html() if prediction.stopped else element("small", cut, class_="quiet")
    title = element("dt", element("span", labelled(run)), element("span", words, class_=f"mark {kind}"))
    return element("div", title, element("dd", text, ending))
