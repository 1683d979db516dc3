# SPDX-License-Identifier: Apache-2.0
"""Runs -> the names they have everywhere on the page: as short as telling them apart allows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .sizes import DEPTH, size_of

if TYPE_CHECKING:
    from pathlib import Path

    from .folders import RunFolder


def named(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """Labels for runs of one kind: model and folder are in them only where they tell apart runs that meet.

    Evaluations (of one model) meet where they answered the same task; tuning runs and probes all stand side by side.
    So runs of one method that asked a benchmark's tasks one by one have one name, and one row of its board.
    """
    several_models = len({run.model for run in runs}) > 1
    labels = [f"{run.model} {run.dialled_method}" if several_models else run.dialled_method for run in runs]
    held = [places_of(run) for run in runs]
    meeting = [
        [i for i in range(len(runs)) if i != j and (runs[i].command != "eval" or held[i] & held[j])]
        for j in range(len(runs))
    ]
    alike = [[runs[i].folder for i in meeting[j] if labels[i] == labels[j]] for j in range(len(runs))]
    labels = [f"{labels[j]} ({_apart(runs[j].folder, alike[j])})" if alike[j] else labels[j] for j in range(len(runs))]
    twins = [sum(i < j and runs[i].method == runs[j].method for i in meeting[j]) for j in range(len(runs))]
    return [
        dataclasses.replace(run, label=label, twin=twin) for run, label, twin in zip(runs, labels, twins, strict=True)
    ]


def _apart(folder: Path, others: Sequence[Path]) -> str:
    """What tells a folder from the others: its name, or of those of one name what stands between their likenesses."""
    namesakes = [other.parts for other in others if other.name == folder.name]
    if not namesakes:
        return folder.name
    paths = [folder.parts, *namesakes]
    shortest = min(map(len, paths))
    start = next((i for i in range(shortest) if len({path[i] for path in paths}) > 1), shortest)
    end = next((i for i in range(shortest - start) if len({path[-1 - i] for path in paths}) > 1), shortest - start)
    return "/".join(folder.parts[start : len(folder.parts) - end]) or folder.name


def places_of(run: RunFolder) -> set[tuple[str, str, bool]]:
    """Where on the page a run stands: its tasks, by unit of size and having of depths."""
    return {
        (prediction.task, size_of(prediction.cell).unit, DEPTH in prediction.cell) for prediction in run.predictions
    }
