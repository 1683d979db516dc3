# SPDX-License-Identifier: Apache-2.0
"""Rows, samples and progress -> what a person sees in a terminal; plain lines where the output is piped.

Results go to standard output, progress and complaints to standard error.
"""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .evaluation.cells import cell_of
from .samples import named_size

OUT = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)
PLAIN_SECONDS = 15  # between two progress lines where nobody sees a bar


class Bars:
    """A watcher that draws one bar a job, with its latest figure and an ETA weighted by cost.

    In a pipe it prints a line at the start, every 15 seconds and at the end.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.bars: Progress | None = None
        self.job = TaskID(0)
        self.title, self.cost, self.done, self.started, self.printed = "", 0.0, 0.0, 0.0, 0.0

    def begin(self, title: str, cost: float) -> None:
        """Start a job of that cost; nothing is drawn for a job already done."""
        self.title, self.cost, self.done = title, cost, 0.0
        self.started = self.printed = time.monotonic()
        if self.quiet or cost <= 0:
            return
        if not ERR.is_terminal:
            ERR.print(f"{title}: {cost:,.0f} tokens to read")
            return
        columns = (
            TextColumn("{task.description:<24}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
        )
        self.bars = Progress(*columns, console=ERR, speed_estimate_period=600)
        self.bars.start()
        atexit.register(self.bars.stop)  # an error in the middle must give the terminal its cursor back
        self.job = self.bars.add_task(title, total=cost, note="")

    def advance(self, cost: float, note: str = "") -> None:
        """Move on by a piece."""
        self.done += cost
        if self.bars:
            self.bars.update(self.job, advance=cost, note=escape(note))
        elif not self.quiet and self.cost > 0 and time.monotonic() - self.printed >= PLAIN_SECONDS:
            self.printed = time.monotonic()
            elapsed = self.printed - self.started
            share = self.done / self.cost
            known = 0 < share < 1 - 1e-9  # once all is read, what is still being written has no known end
            left = f"{elapsed * (1 / share - 1):.0f} s left, " if known else ""
            say(f"{self.title}: {share:.0%}, {elapsed:.0f} s so far, {left}{note}")

    def end(self) -> None:
        """Take the bar down."""
        if self.bars:
            self.bars.stop()
            self.bars = None
        elif not self.quiet and self.cost > 0:
            ERR.print(f"{self.title}: done in {time.monotonic() - self.started:.0f} s")


def say(text: str, style: str = "") -> None:
    """A line for people, on standard error."""
    ERR.print(Text(text, style=style))


def size_of(row: Mapping[str, Any]) -> str:
    """A cell's size in words: its lines, topics, ... or tokens, and its depth."""
    return ", ".join(named_size(name, value) for name, value in cell_of(row).items())


def show_latest(rows: Sequence[Mapping[str, Any]]) -> None:
    """The newest cell (the last row) in a line, while others are still to come."""
    row = rows[-1]
    say(
        f"{row['method']}, {row['task']} {size_of(row)}: {row['accuracy']:.2f}  "
        f"({row['low']:.2f} - {row['high']:.2f}, n = {row['n']})",
        "bold",
    )


def show_grid(rows: Sequence[Mapping[str, Any]]) -> None:
    """Scores as a grid for comparing: a line a method, a column a size; plain text in a pipe as well."""
    sizes = sorted({(row["lines"], size_of(row)) for row in rows})
    tokens = {
        size: round(sum(r["tokens"] for r in rows if r["lines"] == size) / sum(r["lines"] == size for r in rows))
        for size, _ in sizes
    }
    table = Table(box=None, header_style="bold", padding=(0, 2), title_justify="left")
    table.add_column("method")
    for size, label in sizes:
        table.add_column(f"{label}\n{tokens[size]:,} tokens", justify="right")
    for method in dict.fromkeys(row["method"] for row in rows):
        held = {row["lines"]: row for row in rows if row["method"] == method}
        cells = [
            f"{held[s]['accuracy']:.2f}  ({held[s]['low']:.2f} - {held[s]['high']:.2f})" if s in held else ""
            for s, _ in sizes
        ]
        table.add_row(method, *cells, style="bold" if method.startswith("seal") else "")
    OUT.print(table)
    OUT.print(f"accuracy, 95 % interval; n = {min(r['n'] for r in rows)} questions a cell or more", style="dim")


def show_facts(facts: Mapping[str, Any]) -> None:
    """Names and values, a line each."""
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        OUT.print(Text.assemble((f"{name:<{width}}  ", "dim"), str(value)))


def show_prompt(prompt: str, answer: str) -> None:
    """A prompt as the model reads it, the answer that is learnt marked by colour and by brackets."""
    OUT.print(Text.assemble((prompt, "dim"), ("⟦" + answer + "⟧", "bold green")))
