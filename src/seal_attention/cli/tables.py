# SPDX-License-Identifier: Apache-2.0
"""Rows and paired comparisons -> tables for a terminal, as wide as it allows; tab-separated lines in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.measure import Measurement
from rich.table import Table

from ..console import OUT, say, show_facts, size_of
from ..evaluation.cells import cell_of
from ..evaluation.comparison import Comparison
from ..evaluation.summaries import AVERAGE, Effective, averages, effective, effective_average
from ..evaluation.summaries import size_of as unit_and_size
from ..samples import named_size

Row = Mapping[str, Any]


def show_rows(rows: Sequence[Row], threshold: float) -> None:
    """One evaluation's scores and how far each task holds: a grid of tasks by sizes where there are several of both
    and the terminal is wide enough, else a line a cell."""
    average = averages(rows)
    whole = effective_average(average, threshold)
    reached = [*effective(rows, threshold), *([whole] if whole else [])]
    told = False  # whether the table says how far the tasks hold
    if not OUT.is_terminal:
        _print_tabbed(rows)
    else:
        headline = (
            f", effective length {_in_words(reached[-1])} ({reached[-1].task})" if whole or len(reached) == 1 else ""
        )
        OUT.print(f"{rows[0]['method']}{headline}", style="bold")
        grids = [(_grid(rows, average, reached, show), show) for show in (_wide, _narrow, _tight)]
        fitting = [(grid, show) for grid, show in grids if grid and _width(grid) <= OUT.width]
        table, show = fitting[0] if fitting else (_list(rows, average), _wide)
        OUT.print(table)
        for note in _notes(rows, average, threshold if reached else None, show is _wide):
            OUT.print(note, style="dim", soft_wrap=False)
        told = bool(fitting) or len(reached) == 1
    if reached and not told:
        show_facts({f"effective length, {each.task}": _in_words(each) for each in reached})


def _in_words(found: Effective) -> str:
    """`below 4k`, `8k`, or `32k or more` where no longer size was asked."""
    if found.reached is None:
        return f"below {named_size(found.unit, found.shortest)}"
    return named_size(found.unit, found.reached) + (" or more" if found.reached == found.longest else "")


def _in_signs(found: Effective) -> str:
    """The same in the signs that RULER's table uses: `<4k`, `8k`, `\u226532k`."""
    sign = "<" if found.reached is None else "\u2265" if found.reached == found.longest else ""
    return sign + named_size(found.unit, found.shortest if found.reached is None else found.reached)


def _width(table: Table) -> int:
    """The columns that a table needs where nothing is wrapped."""
    return Measurement.get(OUT, OUT.options.update_width(10_000), table).maximum


def show_comparison(comparison: Comparison) -> None:
    """Paired differences, then what else differs between the runs."""
    table = _table("task", "size", "n", "difference", "95 % interval", "only\nfirst", "only\nsecond", "McNemar\np")
    for row in comparison.rows:
        table.add_row(
            row["task"],
            size_of(row),
            str(row["n"]),
            f"{row['difference']:+.3f}",
            f"{row['low']:+.3f} to {row['high']:+.3f}",
            str(row["only_first"]),
            str(row["only_second"]),
            f"{row['p_value']:.2g}",
        )
    OUT.print(table)
    OUT.print("difference: second - first", style="dim")
    if any(comparison.unpaired):
        first, second = comparison.unpaired
        OUT.print(
            f"left out: {first:,} questions of the first and {second:,} of the second without a pair", style="dim"
        )
    if comparison.differs:
        OUT.print("what differs", style="bold")
        both = {name: ["-" if value is None else value for value in pair] for name, pair in comparison.differs.items()}
        show_facts({name: f"{first}  ->  {second}" for name, (first, second) in both.items()})
    else:
        OUT.print("no setting and no version differs", style="dim")
    if comparison.warning:
        say(f"seal: {comparison.warning}", "yellow")


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0), pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name == "task" else "right", no_wrap=True)
    return table


def _list(rows: Sequence[Row], average: Sequence[Row]) -> Table:
    """A line a cell."""
    several, cut = any("scores" in row for row in rows), any("cut" in row for row in rows)
    columns = ["task", "size", "tokens", "n", "accuracy", "95 % interval"]
    table = _table(*columns, *(["also"] if several else []), *(["cut"] if cut else []))
    for row in rows:
        figures = (f"{row['tokens']:,}", f"{row['n']:,}", f"{row['accuracy']:.2f}", _interval(row))
        others = [f"{name} {value:.2f}" for name, value in list(row.get("scores", {}).items())[1:]]
        ending = [", ".join(others)] if several else []
        table.add_row(row["task"], size_of(row), *figures, *ending, *([str(row.get("cut", 0))] if cut else []))
    for row in average:
        figures = ("", f"{row['n']:,}", f"{row['accuracy']:.2f}", _interval(row))
        table.add_row(AVERAGE, named_size("length", row["length"]), *figures, style="bold")
    return table


def _grid(
    rows: Sequence[Row], average: Sequence[Row], reached: Sequence[Effective], show: Callable[[Row], str]
) -> Table | None:
    """A line a task (and depth), a column a size; None unless there are several of both, in one unit."""
    sizes = sorted({size for row in rows if (size := unit_and_size(row))})
    lines: dict[tuple[str, int | None], dict[tuple[str, int] | None, Row]] = {}
    for row in rows:
        lines.setdefault((row["task"], row.get("depth")), {})[unit_and_size(row)] = row
    if len(lines) < 2 or len(sizes) < 2 or len({unit for unit, _ in sizes}) > 1:
        return None
    table = _table("task", *(named_size(*size) for size in sizes), "effective")
    far = {each.task: _in_signs(each) for each in reached}
    for (task, depth), held in lines.items():
        label = task if depth is None else f"{task}, {named_size('depth', depth)}"
        # how far the task holds stands in its first line alone: it is of all its depths together
        table.add_row(label, *(show(held[size]) if size in held else "" for size in sizes), far.pop(task, ""))
    if average:
        at = {("length", row["length"]): show(row) for row in average}
        table.add_row(AVERAGE, *(at.get(size, "") for size in sizes), far.pop(AVERAGE, ""), style="bold")
    return table


def _wide(row: Row) -> str:
    return f"{_narrow(row)}  {row['low']:.2f}-{row['high']:.2f}"


def _narrow(row: Row) -> str:
    """The accuracy, the task's second score beside it."""
    return "/".join(f"{value:.2f}" for value in _first_two(row))


def _tight(row: Row) -> str:
    """The same without the leading zeros."""
    return "/".join("1.0" if value >= 0.995 else f"{value:.2f}"[1:] for value in _first_two(row))


def _first_two(row: Row) -> list[float]:
    return [row["accuracy"], *list(row.get("scores", {}).values())[1:2]]


def _interval(row: Row) -> str:
    return f"{row['low']:.2f} - {row['high']:.2f}"


def _notes(rows: Sequence[Row], average: Sequence[Row], threshold: float | None, intervals: bool) -> list[str]:
    """What the table needs said about it, a sentence each; `threshold` None where no effective length is told."""
    shown = "accuracy with its 95 % interval" if intervals else "accuracy (its 95 % interval is in --json)"
    notes = [f"{shown}, n = {_span(row['n'] for row in rows)} a cell"]
    names = sorted({"/".join(list(row["scores"])[:2]) for row in rows if "scores" in row})
    notes[0] += f"; two scores are {', '.join(names)}" if names else ""
    if average:
        total = _span(row["n"] for row in average)
        notes.append(f"average: of {average[0]['tasks']} tasks, each counting the same; n = {total} at a length")
    if threshold is not None:
        notes.append(
            "effective length: the longest at which every cell of the task, and of every shorter length, scores at "
            f"least {threshold:g} (RULER's bar is 0.856, for the average)"
        )
    cut, guessed = (sum(row.get(name, 0) for row in rows) for name in ("cut", "estimated"))
    notes += [f"{cut:,} prompts were cut to fit the model's window"] if cut else []
    notes += [f"the tokens of {guessed:,} prompts are characters / 4: the server counted none"] if guessed else []
    return notes


def _span(counts: Iterable[int]) -> str:
    """`100`, or `96 to 104`."""
    ends = sorted(set(counts))
    return f"{ends[0]:,}" + (f" to {ends[-1]:,}" if len(ends) > 1 else "")


def _print_tabbed(rows: Sequence[Row]) -> None:
    sizes = list(dict.fromkeys(name for row in rows for name in cell_of(row)))
    others = list(dict.fromkeys(name for row in rows for name in list(row.get("scores", {}))[1:]))
    counts = [name for name in ("cut", "estimated") if any(name in row for row in rows)]
    columns = ["method", "task", *sizes, "tokens", "n", "correct", "accuracy", "low", "high"]
    print("\t".join([*columns, *others, *counts]))
    for row in rows:
        scores = row.get("scores", {})
        values = [row.get(name, "") for name in columns] + [scores.get(name, "") for name in others]
        print("\t".join(str(value) for value in [*values, *(row.get(name, 0) for name in counts)]))
