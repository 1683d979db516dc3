# SPDX-License-Identifier: Apache-2.0
"""A board -> its section: the average of a benchmark by length, then every task, a table a run or a column a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..boards import Board, Exhibit
from ..folders import RunFolder
from ..headline import effective_rule, effective_words
from ..markup import Html, element, join, table
from ..panels import Panel, base_of
from ..parts import breakable, counts, labelled, loose, rules_note, score_lines, small
from ..scores import Gain, Score
from ..sizes import Size
from ..wording import CONFIDENCE, DASH, PREFIXED, count, listed, rule_name, signed, signed_interval
from .panel import differences, score_curve, score_row

if TYPE_CHECKING:
    import plotly.graph_objects as go

WHOLE_TABLES = 3  # runs whose tables of all tasks stand open; more are folded, so that the page stays short


def board_section(board: Board, figures: list[go.Figure]) -> Html:
    """Everything about several tasks of one model."""
    if len(board.sizes) == 1:
        return join([_pieced(board), _tasks_by_run(board)])
    parts: list[Html] = [_pieced(board)]
    if board.family:
        parts += [_averages(board), element("p", f"Effective length: {effective_rule(board)}", class_="note")]
    if any(run.method.endswith(PREFIXED) for run in board.runs):
        note = "-prefixed: the answer\u2019s first words were already written for the model."
        parts.append(element("p", note, class_="note"))
    if any(board.measured(run) for run in board.runs):
        parts.append(score_curve(board, figures))
    parts.append(element("h4", "Every task"))
    opened = {"open": "open"} if len(board.runs) <= WHOLE_TABLES else {}
    for run in board.runs:
        summary = element("summary", labelled(run), " ", element("small", "every task at every length"))
        parts.append(element("details", summary, _tasks_by_size(board, run), **opened))
    return join(parts)


def _pieced(board: Board) -> Html:
    """Which rows are several runs, and how many adapters made them: tuned on each task, or one for all."""
    told = []
    for label, runs in board.pieced.items():
        adapters = {digest for run in runs if (digest := run.settings.get("adapter_digest"))}
        made = f" with {count(len(adapters), 'adapter')}" if adapters else ""
        told.append(f"{label} joins {count(len(runs), 'run')}{made}")
    return element("p", f"{listed(told)}, each of other tasks.", class_="note") if told else Html()


def _averages(board: Board) -> Html:
    """A row a run: the average at every length, and the effective length."""
    rows = [_average_row(board, run, labelled(run)) for run in board.runs]
    tuned = ", and what a tuned run gained over base" if any(base_of(run, board.runs) for run in board.runs) else ""
    caption = f"{_average_rule(board)}, above its {CONFIDENCE} interval{tuned}.{rules_note(board.rules)}"
    return table(caption, ["Run", *(size.name for size in board.sizes), "Effective length"], rows)


def _average_row(board: Board, run: RunFolder, title: str) -> list[str]:
    """The averages of a run at every length; where a task is missing, how many there are instead."""
    scores = [board.score(run, size) for size in board.sizes]
    total, each = counts([score.n if score else None for score in scores])
    cells: list[str] = []
    for size, score, n in zip(board.sizes, scores, each, strict=True):
        if score:
            cells.append(join([score_lines(score), _gained(board.gain(run, size)), small(n)]))
        else:
            answered = board.answered(run, size)
            cells.append(join([DASH, small(f"{answered} of {_tasks(board)}" if answered else "")]))
    effective = loose(effective_words(board, run)) if board.measured(run) else DASH
    return [join([title, small(f"{total} a length" if total else "")]), *cells, effective]


def _tasks_by_size(board: Board, run: RunFolder) -> Html:
    """One run: a row a task, a column a length, the average last."""
    rows = [_task_row(board, panel, run) for panel in board.panels]
    if board.family:
        title, *cells, effective = _average_row(board, run, f"Average of {_tasks(board)}")
        scores = [board.score(run, size) for size in board.sizes]
        rows.append([title, *map(_tinted, scores, cells), _tinted(None, effective)])
    gained = " and the points gained over base" if base_of(run, board.runs) else ""
    caption = (
        f"{run.label}: mean score of every task, above its {CONFIDENCE} interval{gained}.{rules_note(board.rules)}"
    )
    header = ["Task", *(_tinted(None, size.name) for size in board.sizes), _tinted(None, "Effective length")]
    return table(caption, header, rows, "tinted" + (" averaged" if board.family else ""))


def _task_row(board: Board, panel: Panel, run: RunFolder) -> list[str]:
    scores = [panel.score(run, size) for size in board.sizes]
    total, each = counts([score.n if score else None for score in scores])
    cells = [
        _tinted(score, join([score_lines(score), _gained(panel.gain(run, size)), small(n)]) if score else DASH)
        for score, size, n in zip(scores, board.sizes, each, strict=True)
    ]
    effective = loose(effective_words(panel, run)) if panel.measured(run) else DASH
    return [join([_task(board, panel), small(f"{total} a length" if total else "")]), *cells, _tinted(None, effective)]


def _tasks_by_run(board: Board) -> Html:
    """One length, or none: a row a task, a column a run, the average last; then the differences from base."""
    size = board.sizes[0]
    rows = [score_row([panel.score(run, size) for run in board.runs], _task(board, panel)) for panel in board.panels]
    averaged = board.family and any(board.scores(size))
    if averaged:
        rows.append(score_row(board.scores(size), f"Average of {_tasks(board)}"))
    at = f" at {size.name}" if size.unit else ""
    rule = f" The last row: {_average_rule(board)[0].lower()}{_average_rule(board)[1:]}." if averaged else ""
    caption = f"Mean score of every task{at}, above its {CONFIDENCE} interval.{rules_note(board.rules)}{rule}"
    compared: list[tuple[str, Exhibit, Size]] = [(breakable(panel.task), panel, size) for panel in board.panels]
    if averaged:
        compared.append((f"Average of {_tasks(board)}", board, size))
    return join([table(caption, ["Task", *map(labelled, board.runs)], rows), differences(board.runs, compared, "Task")])


def _task(board: Board, panel: Panel) -> Html:
    """A task's name, with its rule where the board's tasks are scored by different ones."""
    return join([breakable(panel.task), small("" if board.rules else f"by {', '.join(map(rule_name, panel.rules))}")])


def _tasks(board: Board) -> str:
    return count(len(board.panels), "task")


def _average_rule(board: Board) -> str:
    return f"Average of {_tasks(board)}: the plain mean of their scores, every task counting the same"


def _tinted(score: Score | None, content: str) -> Html:
    """A cell's content on a ground that is the stronger the higher the score."""
    style = {"style": f"--share: {score.mean:.2f}"} if score else {}
    return element("span", content, class_="tint", **style)


def _gained(gain: Gain | None) -> Html:
    if gain is None:
        return Html()
    ends = element("span", f"({signed_interval(gain.low, gain.high)})")
    return element("small", f"{signed(gain.difference)} ", ends, class_="loose")
