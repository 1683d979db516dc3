# SPDX-License-Identifier: Apache-2.0
"""Runs -> the last section: which folders the page was made from, and how each of them was made."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ..families import family_name, family_of
from ..folders import RunFolder
from ..markup import Html, element, table
from ..parts import labelled
from ..wording import DASH, count


def runs_and_manifests(runs: Sequence[RunFolder]) -> list[Html]:
    """Which folders the page was made from, and every manifest in full."""
    rows = [
        [
            labelled(run),
            str(run.folder),
            f"seal {run.command}",
            run.model,
            _tasks(run),
            "finished" if run.finished else "unfinished",
            holds(run),
            str(run.manifest.get("started", DASH)),
        ]
        for run in runs
    ]
    header = ["Run", "Folder", "Command", "Model", "Tasks", "State", "Holds", "Started"]
    parts = [table("The folders behind this page", header, rows, "words")]
    for run in runs:
        manifest = json.dumps(run.manifest, indent=2, ensure_ascii=False)
        summary = element("summary", labelled(run), " ", element("small", f"manifest of {run.folder}"))
        parts.append(element("details", summary, element("pre", manifest, tabindex="0")))
    return parts


def holds(run: RunFolder) -> str:
    """How much a run has brought so far."""
    held = {"eval": (len(run.predictions), "answer"), "tune": (len(run.steps), "step")}
    return count(*held.get(run.command, (run.records, "record")))


def _tasks(run: RunFolder) -> str:
    """What a run asked, was tuned on or probed with, benchmarks by their names."""
    if run.command != "eval":
        return str(run.settings.get("task") or run.settings.get("tasks") or DASH).replace(",", ", ")
    families = dict.fromkeys(family_name(family_of(p.task)) or p.task for p in run.predictions)
    return ", ".join(families) or DASH
