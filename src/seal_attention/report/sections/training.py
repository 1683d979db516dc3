# SPDX-License-Identifier: Apache-2.0
"""Tuning runs -> their sections: what was tuned at what cost, the loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..folders import RunFolder
from ..loss_figure import loss_figure
from ..markup import Html, table
from ..parts import figure_place, labelled
from ..sizes import Size
from ..wording import DASH, SPACE

if TYPE_CHECKING:
    import plotly.graph_objects as go

MOST_STEPS = 200  # of a run in the table behind the loss


def tuning(runs: Sequence[RunFolder], figures: list[go.Figure]) -> list[Html]:
    """What was tuned, on what, at what cost; and the loss curves."""
    if not runs:
        return []
    header = ["Run", "Task", "Size", "Samples", "Questions", "Rate", "Seed", "Steps", "Tokens", "Time", "Loss"]
    parts = [table("What was tuned, on what, at what cost", header, [_tuning_row(run) for run in runs], "close")]
    started = [run for run in runs if run.steps]
    if started:
        header = ["Run", "Step", "Loss", "Smoothed", "Gradient norm", "Questions", "Tokens", "Seconds"]
        thinned = any(len(run.steps) > MOST_STEPS for run in started)
        title = f"Steps, {MOST_STEPS} of a run at most: all stand in steps.jsonl" if thinned else "Every step"
        behind = table(title, header, [row for run in started for row in _step_rows(run)], "numbers")
        caption = (
            "Loss on the answer\u2019s tokens, step by step (light) and smoothed by an exponential mean that keeps "
            "four fifths of its last value (strong)."
        )
        parts.append(
            figure_place(figures, loss_figure(started), "Loss while tuning", caption, behind, runs=len(started))
        )
    return parts


def _tuning_row(run: RunFolder) -> list[str]:
    seconds = sum(step.seconds for step in run.steps)
    facts = {**run.settings, **run.adapter}  # the adapter knows best, once there is one
    settings = [facts.get(name) for name in ("samples", "questions", "lr", "seed")]
    return [
        labelled(run),
        str(facts.get("task") or facts.get("tasks") or DASH).replace(",", ", "),
        _tuned_size(facts),
        *(DASH if value is None else f"{value:g}" if isinstance(value, float) else str(value) for value in settings),
        f"{len(run.steps):,}",
        f"{sum(step.tokens for step in run.steps):,}",
        f"{seconds / 60:.0f}{SPACE}min" if seconds >= 120 else f"{seconds:.0f}{SPACE}s",
        f"{run.steps[0].loss:.2f} to {run.smoothed_losses[-1]:.2f}" if run.steps else DASH,
    ]


def _tuned_size(facts: Mapping[str, Any]) -> str:
    """One size as its cell says it, several as they were typed."""
    for key in ("lines", "length"):
        if isinstance(amount := facts.get(key), int):
            return Size(key, amount).name
    if typed := facts.get("lines") or facts.get("lengths"):
        return f"{typed} {'lines' if facts.get('lines') else 'tokens'}"
    return DASH


def _step_rows(run: RunFolder) -> list[list[str]]:
    """At most `MOST_STEPS` steps of a run, evenly spread, the last among them."""
    stride = -(-len(run.steps) // MOST_STEPS)
    return [
        [
            run.label,
            str(step.step),
            f"{step.loss:.4f}",
            f"{smooth:.4f}",
            f"{step.gradient_norm:.3g}",
            str(step.questions),
            f"{step.tokens:,}",
            f"{step.seconds:.1f}",
        ]
        for step, smooth in list(zip(run.steps, run.smoothed_losses, strict=True))[::-stride][::-1]
    ]
