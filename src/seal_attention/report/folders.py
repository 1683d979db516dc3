# SPDX-License-Identifier: Apache-2.0
"""Folders on disk -> runs read and checked, each with its name on the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..runs import MANIFEST, RESULTS, load_json, read_records
from ..samples import Prediction
from .head_map import HeadMap, head_map
from .naming import named
from .probes import Probe, probe_of
from .wording import KIND_NAMES, METHOD_NAMES, colour_name, extension_name, listed, method_name

PREDICTIONS, STEPS, ADAPTER = "predictions.jsonl", "steps.jsonl", "adapter/seal.json"
COMMANDS = ("eval", "tune", "probe")
TWIN_COLOURS = ("series-4", "series-5", "series-3", "series-1", "series-2", "series-0")  # least like methods' first
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
class RunFolder:
    """A run as it lies on disk. `label` names it everywhere on the page; `twin` counts earlier runs of its method.

    `native_window` is what the model was made for (or held down to), in tokens, where the run's results say it.
    A probe is there once it is finished; until then `records` says how far it has come.
    """

    folder: Path
    manifest: Mapping[str, Any]
    finished: bool
    predictions: tuple[Prediction, ...] = ()
    steps: tuple[Step, ...] = ()
    adapter: Mapping[str, Any] = field(default_factory=dict)
    head_map: HeadMap | None = None
    native_window: int | None = None
    probe: Probe | None = None
    records: int = 0
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
    def kind(self) -> str:
        """What a probe measures, in words; empty for other runs."""
        kind = str(self.settings.get("probe", ""))
        return KIND_NAMES.get(kind, kind)

    @property
    def tasks(self) -> set[str]:
        """The tasks that the run has answers to."""
        return {prediction.task for prediction in self.predictions}

    @property
    def extension(self) -> str:
        """The window extension that it ran under, as it is typed; empty where there was none."""
        return extension_name(str(self.settings.get("extend") or ""))

    @property
    def dialled_method(self) -> str:
        """The method's name, with its window extension, and its strength where not 1; of a probe its kind first."""
        strength = self.settings.get("strength", 1)
        name = ", ".join(filter(None, (method_name(self.method), self.extension)))
        dialled = name if strength == 1 or self.method.startswith("base") else f"{name}, strength {strength}"
        return " of ".join(filter(None, (self.kind, "" if self.kind and self.method == "base" else dialled)))

    @property
    def colour(self) -> str:
        """Its colour's name in page.css: its method's; later runs of one method, base aside, have others."""
        own = not self.twin or self.method.startswith("base")
        return colour_name(self.method) if own else TWIN_COLOURS[(self.twin - 1) % len(TWIN_COLOURS)]

    @property
    def smoothed_losses(self) -> list[float]:
        """The exponential mean of the loss, without the pull towards zero at its start."""
        means, mean, weight = [], 0.0, 0.0
        for step in self.steps:
            mean = SMOOTHING * mean + (1 - SMOOTHING) * step.loss
            weight = SMOOTHING * weight + (1 - SMOOTHING)
            means.append(mean / weight)
        return means


def read_runs(folders: Sequence[Path]) -> list[RunFolder]:
    """Read and name run folders, baselines first; a folder given twice counts once."""
    if not folders:
        raise UsageError("no run folder given; type `seal report RUN_FOLDER ... --out page.html`")
    runs = [read_run(folder) for folder in {folder.resolve(): folder for folder in folders}.values()]
    known = list(METHOD_NAMES)
    runs.sort(key=lambda run: known.index(run.method) if run.method in known else len(known))
    evaluations = [
        named([run for run in runs if run.command == "eval" and run.model == model])
        for model in dict.fromkeys(run.model for run in runs)
    ]
    others = [named([run for run in runs if run.command == command]) for command in ("tune", "probe")]
    return [run for held in (*evaluations, *others) for run in held]


def read_run(folder: Path) -> RunFolder:
    """Read what `seal eval`, `seal tune` or `seal probe` wrote; UsageError for any other folder."""
    next_step = (
        "give folders that `seal eval`, `seal tune` or `seal probe` wrote, as in `seal report runs/eval-base --out "
        "page.html`"
    )
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
    if command not in COMMANDS:
        shown = listed([f"`seal {name}`" for name in COMMANDS])
        raise UsageError(f"{folder} holds a run of `seal {command}`, and a report shows {shown}; {next_step}")
    if missing := [key for key in ("model", "method") if not isinstance(settings.get(key), str)]:
        raise UsageError(f"{folder / MANIFEST} has no {' and no '.join(missing)} among its settings; {next_step}")
    run = RunFolder(folder, manifest, finished=(folder / RESULTS).exists())
    if command == "tune":
        adapter = _read_adapter(folder / ADAPTER)
        head_map = _head_map(adapter, folder / ADAPTER)
        return dataclasses.replace(run, steps=_read_steps(folder / STEPS), adapter=adapter, head_map=head_map)
    if command == "probe":
        records = sum(len(read_records(path)) for path in sorted(folder.glob("*.jsonl")))
        probe = probe_of(load_json(folder / RESULTS), folder / RESULTS) if run.finished else None
        return dataclasses.replace(run, probe=probe, records=records)
    run = dataclasses.replace(
        run,
        predictions=_read_predictions(folder / PREDICTIONS),
        native_window=load_json(folder / RESULTS).get("native_window") if run.finished else None,
    )
    if run.finished and not run.predictions:
        raise UsageError(f"{folder} holds {RESULTS} but no answers in {PREDICTIONS}; copy the whole run folder")
    return run


def _read_predictions(path: Path) -> tuple[Prediction, ...]:
    predictions = []
    for number, record in enumerate(read_records(path), start=1):
        try:
            prediction = Prediction.from_record(record)
            score, tokens = float(prediction.score), int(prediction.tokens)
            scores = {str(name): float(value) for name, value in dict(prediction.scores).items()}
            cell = {str(name): int(value) for name, value in dict(prediction.cell).items()}
            meta = dict(prediction.meta)
        except (TypeError, ValueError, KeyError) as error:
            raise UsageError(f"{path} line {number} is not a prediction ({error!r}); run `seal eval` again") from error
        predictions.append(
            dataclasses.replace(prediction, score=score, tokens=tokens, scores=scores, cell=cell, meta=meta)
        )
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


def _read_adapter(path: Path) -> dict[str, Any]:
    """An adapter's seal.json; nothing before there is one."""
    adapter = load_json(path) if path.exists() else {}
    if not isinstance(adapter, dict):
        raise UsageError(f"{path} is not the description of an adapter; run `seal tune` again")
    return adapter


def _head_map(adapter: Mapping[str, Any], path: Path) -> HeadMap | None:
    """The map that an adapter describes; None for methods that scale no heads."""
    if "heads" not in adapter:
        return None
    method = str(adapter.get("method", ""))
    try:
        return head_map(adapter["layers"], adapter["heads"], name=f"scale {method}", noun="scale")
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(f"{path} holds no layers with their head scales ({error}); run `seal tune` again") from error
