# SPDX-License-Identifier: Apache-2.0
"""Run folders -> plain rows: accuracies with intervals, paired differences, loss curves, head maps, sample answers.

Every figure is computed anew from the predictions, so an unfinished run counts with what it has. No torch in here.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..runs import MANIFEST, RESULTS, load_json, read_records
from ..samples import Prediction
from ..scoring import PairedComparison, compare_pairs, wilson_interval
from .wording import METHOD_NAMES, method_name

PREDICTIONS, STEPS, ADAPTER = "predictions.jsonl", "steps.jsonl", "adapter/seal.json"
SMOOTHING = 0.8  # what the smoothed loss keeps of its last value at each step


@dataclass(frozen=True)
class Step:
    """One optimizer step of a tuning run."""

    step: int
    loss: float
    gradient_norm: float
    questions: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class HeadMap:
    """The learnt scale of every head (for channels the mean over the head): `scales[i][head]` belongs to `layers[i]`."""

    layers: tuple[int, ...]
    scales: tuple[tuple[float, ...], ...]

    @property
    def extremes(self) -> tuple[tuple[float, int, int], tuple[float, int, int]]:
        """The quietest and the loudest head, each as (scale, layer, head)."""
        heads = [
            (scale, layer, head)
            for layer, row in zip(self.layers, self.scales, strict=True)
            for head, scale in enumerate(row)
        ]
        return min(heads), max(heads)


@dataclass(frozen=True)
class RunFolder:
    """A run as it lies on disk. `label` names it everywhere on the page; `twin` counts earlier runs of its method."""

    folder: Path
    manifest: Mapping[str, Any]
    finished: bool
    predictions: tuple[Prediction, ...] = ()
    steps: tuple[Step, ...] = ()
    head_map: HeadMap | None = None
    label: str = ""
    twin: int = 0

    @property
    def command(self) -> str:
        return str(self.manifest["command"])

    @property
    def settings(self) -> Mapping[str, Any]:
        settings: Mapping[str, Any] = self.manifest["settings"]
        return settings

    @property
    def model(self) -> str:
        return str(self.settings["model"])

    @property
    def method(self) -> str:
        return str(self.settings["method"])

    @property
    def smoothed_losses(self) -> list[float]:
        """The exponential mean of the loss, without the pull towards zero at its start."""
        means, mean, weight = [], 0.0, 0.0
        for step in self.steps:
            mean = SMOOTHING * mean + (1 - SMOOTHING) * step.loss
            weight = SMOOTHING * weight + (1 - SMOOTHING)
            means.append(mean / weight)
        return means


@dataclass(frozen=True)
class Accuracy:
    """How one run did in one cell."""

    n: int
    accuracy: float
    low: float
    high: float
    tokens: float


@dataclass(frozen=True)
class Shown:
    """One question with what each run answered, by the run's label."""

    asked: str
    answers: tuple[str, ...]
    predictions: Mapping[str, Prediction]


@dataclass(frozen=True)
class Panel:
    """All evaluation runs of one model on one task: cells by size (None where the task has no lines) and run label."""

    model: str
    task: str
    runs: tuple[RunFolder, ...]
    sizes: tuple[int | None, ...]
    cells: Mapping[tuple[int | None, str], Mapping[str, Prediction]]

    @property
    def base(self) -> RunFolder | None:
        """The run all others are compared with."""
        return next((run for run in self.runs if run.method == "base"), None)

    def accuracy(self, size: int | None, run: RunFolder) -> Accuracy | None:
        """The run's accuracy in a cell with its 95 % Wilson interval, None where it has no answer there."""
        found = self.cells.get((size, run.label), {}).values()
        if not found:
            return None
        n, correct = len(found), sum(prediction.score for prediction in found)
        low, high = wilson_interval(correct, n)
        return Accuracy(n, correct / n, low, high, sum(prediction.tokens for prediction in found) / n)

    def measured(self, size: int | None) -> list[tuple[RunFolder, Accuracy]]:
        """The runs that have answers in a cell, with their accuracies."""
        return [(run, row) for run in self.runs if (row := self.accuracy(size, run))]

    def tokens(self, size: int | None) -> float:
        """The mean prompt of a cell, over the runs that have answers there."""
        rows = self.measured(size)
        return sum(row.tokens for _, row in rows) / len(rows)

    def difference(self, size: int | None, run: RunFolder) -> PairedComparison | None:
        """The run against base on the questions that both answered, None where there are none."""
        if self.base is None:
            return None
        before, after = self.cells.get((size, self.base.label), {}), self.cells.get((size, run.label), {})
        common = [question for question in before if question in after]
        if not common:
            return None
        return compare_pairs([before[q].score for q in common], [after[q].score for q in common])

    def shown(self, size: int | None, most: int) -> list[Shown]:
        """A few questions of a cell, those first where the runs differ, otherwise in the order they were asked."""
        columns = {run.label: self.cells.get((size, run.label), {}) for run in self.runs}
        questions = dict.fromkeys(question for column in columns.values() for question in column)
        rows = [{label: column[q] for label, column in columns.items() if q in column} for q in questions]
        rows.sort(key=lambda row: len({prediction.score for prediction in row.values()}) == 1)  # a stable sort
        firsts = [next(iter(row.values())) for row in rows[:most]]
        return [
            Shown(first.asked.strip() or f"{first.task}: {first.meta.get('key', first.question)}", first.answers, row)
            for first, row in zip(firsts, rows, strict=False)
        ]


@dataclass(frozen=True)
class Finding:
    """The longest cell where base can be compared: its size, base, the best tuned run there, and their difference."""

    panel: Panel
    size: int | None
    base: Accuracy
    best: Accuracy
    run: RunFolder
    difference: PairedComparison


def read_runs(folders: Sequence[Path]) -> list[RunFolder]:
    """Read and name run folders, baselines first; a folder given twice counts once."""
    if not folders:
        raise UsageError("no run folder given; type `seal report RUN_FOLDER ... --out page.html`")
    runs = [read_run(folder) for folder in {folder.resolve(): folder for folder in folders}.values()]
    known = list(METHOD_NAMES)
    runs.sort(key=lambda run: known.index(run.method) if run.method in known else len(known))
    return _named([run for run in runs if run.command == "eval"]) + _named([run for run in runs if run.command == "tune"])


def read_run(folder: Path) -> RunFolder:
    """Read what `seal eval` or `seal tune` wrote; UsageError for any other folder."""
    next_step = "give folders that `seal eval` or `seal tune` wrote, as in `seal report runs/eval-base --out page.html`"
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; {next_step}")
    if not (folder / MANIFEST).exists():
        names = sorted(path.name for path in folder.iterdir())
        seen = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"
        raise UsageError(f"{folder} is no run folder: it holds {seen}, but no {MANIFEST}; {next_step}")
    manifest = load_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or not isinstance(settings := manifest.get("settings"), dict):
        raise UsageError(f"{folder / MANIFEST} names no command with settings; {next_step}")
    command = manifest.get("command")
    if command not in ("eval", "tune"):
        raise UsageError(f"{folder} holds a run of `seal {command}`, and a report shows `seal eval` and `seal tune`; {next_step}")
    if missing := [key for key in ("model", "method") if not isinstance(settings.get(key), str)]:
        raise UsageError(f"{folder / MANIFEST} has no {' and no '.join(missing)} among its settings; {next_step}")
    run = RunFolder(folder, manifest, finished=(folder / RESULTS).exists())
    if command == "tune":
        return dataclasses.replace(run, steps=_read_steps(folder / STEPS), head_map=_read_head_map(folder / ADAPTER))
    run = dataclasses.replace(run, predictions=_read_predictions(folder / PREDICTIONS))
    if run.finished and not run.predictions:
        raise UsageError(f"{folder} holds {RESULTS} but no answers in {PREDICTIONS}; copy the whole run folder")
    return run


def panels_of(runs: Sequence[RunFolder]) -> list[Panel]:
    """Evaluation runs -> one panel for each model and task, in the order of the runs."""
    keys = dict.fromkeys((run.model, prediction.task) for run in runs for prediction in run.predictions)
    panels = []
    for model, task in keys:
        cells: dict[tuple[int | None, str], dict[str, Prediction]] = {}
        for run in runs:
            for prediction in run.predictions:
                if (run.model, prediction.task) == (model, task):
                    cells.setdefault((prediction.meta.get("lines"), run.label), {})[prediction.question] = prediction
        labels = {label for _, label in cells}
        sizes = sorted({size for size, _ in cells}, key=lambda size: size or 0)
        panels.append(Panel(model, task, tuple(run for run in runs if run.label in labels), tuple(sizes), cells))
    return panels


def finding_of(panels: Sequence[Panel]) -> Finding | None:
    """What the page says first: the longest comparable cell of the first panel that has one, never the prettiest."""
    for panel in panels:
        for size in reversed(panel.sizes):
            compared = [
                Finding(panel, size, before, after, run, difference)
                for run in panel.runs
                if run.method not in ("base", "base-prefixed")
                and panel.base is not None
                and (before := panel.accuracy(size, panel.base))
                and (after := panel.accuracy(size, run))
                and (difference := panel.difference(size, run))
            ]
            if compared:
                return max(compared, key=lambda finding: finding.best.accuracy)
    return None


def _named(runs: list[RunFolder]) -> list[RunFolder]:
    """Labels as short as they can be: the method, with strength, model and folder only where they tell runs apart."""
    several_models = len({run.model for run in runs}) > 1
    labels = []
    for run in runs:
        strength = run.settings.get("strength", 1.0)
        dialled = f", strength {strength:g}" if isinstance(strength, float) and strength != 1 else ""
        labels.append(f"{run.model + ' ' if several_models else ''}{method_name(run.method)}{dialled}")
    labels = [f"{label} ({run.folder.name})" if labels.count(label) > 1 else label for label, run in zip(labels, runs, strict=True)]
    labels = [f"{label} ({run.folder})" if labels.count(label) > 1 else label for label, run in zip(labels, runs, strict=True)]
    twins: Counter[str] = Counter()
    named = []
    for label, run in zip(labels, runs, strict=True):
        named.append(dataclasses.replace(run, label=label, twin=twins[run.method]))
        twins[run.method] += 1
    return named


def _read_predictions(path: Path) -> tuple[Prediction, ...]:
    predictions = []
    for number, record in enumerate(read_records(path), start=1):
        try:
            prediction = Prediction.from_record(record)
            score, tokens, meta = float(prediction.score), int(prediction.tokens), dict(prediction.meta)
        except (TypeError, ValueError, KeyError) as error:
            raise UsageError(f"{path} line {number} is not a prediction ({error!r}); run `seal eval` again") from error
        predictions.append(dataclasses.replace(prediction, score=score, tokens=tokens, meta=meta))
    return tuple(predictions)


def _read_steps(path: Path) -> tuple[Step, ...]:
    names = [field.name for field in dataclasses.fields(Step)]
    steps = []
    for number, record in enumerate(read_records(path), start=1):
        try:
            steps.append(Step(**{name: record[name] for name in names}))
        except (TypeError, KeyError) as error:
            raise UsageError(f"{path} line {number} is not a tuning step ({error!r}); run `seal tune` again") from error
    return tuple(steps)


def _read_head_map(path: Path) -> HeadMap | None:
    """The map in an adapter's seal.json; None before there is one, and for methods that scale no heads."""
    if not path.exists() or "heads" not in (seal := load_json(path)):
        return None
    try:
        scales = tuple(tuple(float(scale) for scale in row) for row in seal["heads"])
        layers = tuple(int(layer) for layer in seal["layers"])
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(f"{path} holds no layers with their head scales ({error!r}); run `seal tune` again") from error
    if len(layers) != len(scales) or not all(scales) or not layers:
        raise UsageError(f"{path} names {len(layers)} layers but scales of {len(scales)}; run `seal tune` again")
    return HeadMap(layers, scales)
