# SPDX-License-Identifier: Apache-2.0
"""The sides of a comparison -> figures in a file, line by line: a fresh process a side, in turn, resumed by rerunning.

A comparison's module holds a function a side; the function is called in a process of its own and returns its figures.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seal_attention.errors import SealError, UsageError
from seal_attention.runs import made_with, read_records, write_failure

Figures = dict[str, Any]
ADAPTER_WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class Asked:
    """What was typed: `quick` for tiny sizes, how often each comparison is repeated, how many questions Trainer is to
    measure (None: as many as the length allows), and the folder of a tuned adapter."""

    quick: bool
    repeats: int
    peer_questions: int | None
    adapter: Path

    def adapter_settings(self) -> dict[str, str]:
        """The adapter as a side's settings: its folder, and what is in it, so that another's figures don't count.

        UsageError where there is none.
        """
        weights = self.adapter / ADAPTER_WEIGHTS
        if not weights.is_file():
            raise UsageError(
                f"there is no adapter in {self.adapter}; run `make demo` first, or name one with --adapter"
            )
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
        return {"adapter": str(self.adapter), "adapter_digest": digest}


@dataclass(frozen=True)
class Side:
    """`function` of the comparison's module, called with `settings`; `seconds` is a guess for two idle cores."""

    function: str
    settings: Mapping[str, Any]
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """Sides that are measured one after the other, `repeats` times over."""

    name: str
    module: str
    sides: Mapping[str, Side]
    repeats: int

    def jobs(self) -> list[Job]:
        """Everything to be measured, in order: ours, theirs, ours, theirs, ..."""
        return [Job(self, repeat, name) for repeat in range(self.repeats) for name in self.sides]


@dataclass(frozen=True)
class Job:
    """One side of one repeat."""

    comparison: Comparison
    repeat: int
    side_name: str

    @property
    def side(self) -> Side:
        """What is to be run."""
        return self.comparison.sides[self.side_name]

    def title(self) -> str:
        """The job in words."""
        return f"{self.comparison.name}, repeat {self.repeat + 1} of {self.comparison.repeats}, {self.side_name}"


@dataclass
class Records:
    """Every figure measured so far, in a JSON-lines file; those of other settings, versions or machines don't count."""

    path: Path
    machine: dict[str, Any]
    held: dict[str, Figures] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path) -> Records:
        """Read what an earlier sitting measured."""
        machine = {**made_with(), "threads": os.environ.get("OMP_NUM_THREADS", "all")}
        records = cls(path, machine)
        for record in read_records(path, mend=True):
            records.held[json.dumps(record["job"], sort_keys=True)] = record["figures"]
        return records

    def figures(self, job: Job) -> Figures | None:
        """What the job measured, None where it has not run."""
        return self.held.get(json.dumps(self._named(job), sort_keys=True))

    def add(self, job: Job, figures: Figures) -> None:
        """Keep a job's figures, on the disk before this returns."""
        self.held[json.dumps(self._named(job), sort_keys=True)] = figures
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"job": self._named(job), "figures": figures}) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_failure(self.path, error) from error

    def repeats(self, comparison: Comparison) -> list[dict[str, Figures]]:
        """The whole repeats: each side's figures by its name."""
        found = []
        for repeat in range(comparison.repeats):
            sides = {name: self.figures(Job(comparison, repeat, name)) for name in comparison.sides}
            if all(figures is not None for figures in sides.values()):
                found.append({name: figures for name, figures in sides.items() if figures is not None})
        return found

    def _named(self, job: Job) -> dict[str, Any]:
        names = {"comparison": job.comparison.name, "side": job.side_name, "repeat": job.repeat}
        return json.loads(json.dumps({**names, "settings": dict(job.side.settings), "machine": self.machine}))


def measure(jobs: Sequence[Job], records: Records, say: Callable[[str], None]) -> list[str]:
    """Run the jobs that have no figures yet; returns a sentence for each that failed, and goes on with the rest."""
    failures: list[str] = []
    failed: set[str] = set()
    done, started = 0.0, time.perf_counter()
    for place, job in enumerate(jobs):
        elapsed = time.perf_counter() - started
        left = sum(other.side.seconds for other in jobs[place:]) * (elapsed / done if done else 1.0)
        say(f"{job.title()}: {minutes(elapsed)} so far, about {minutes(left)} left")
        if job.comparison.name in failed:  # half a pair tells nothing
            say(f"{job.comparison.name}: left out, another side of it failed")
            continue
        try:
            records.add(job, run_in_fresh_process(job.comparison.module, job.side))
        except SealError as error:
            failed.add(job.comparison.name)
            failures.append(f"{job.title()}: {error}")
            say(failures[-1])
        done += job.side.seconds
    return failures


def run_in_fresh_process(module: str, side: Side) -> Figures:
    """Call the side's function in a new interpreter. SealError with the last thing it said where it ends badly."""
    command = [sys.executable, __file__, module, side.function, json.dumps(dict(side.settings))]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)
    if ended.returncode:
        said = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
        last = said[-1] if said else "it said nothing"
        hint = "it was killed, most likely for memory" if ended.returncode == -9 else last
        raise SealError(f"{module}.{side.function} ended with code {ended.returncode} ({hint}); run it again")
    return json.loads(ended.stdout.splitlines()[-1])


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Paired ratios -> their median with the lowest and the highest."""
    median, low, high = (round(value, 3) for value in (statistics.median(values), min(values), max(values)))
    return {"median": median, "low": low, "high": high, "pairs": len(values)}


def minutes(seconds: float) -> str:
    """Seconds as a person says them."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def main() -> None:
    """In the fresh process: module, function and settings from the command line, figures as the last line printed."""
    module, function, settings = sys.argv[1:]
    try:
        figures = getattr(importlib.import_module(module), function)(**json.loads(settings))
    except SealError as error:
        sys.exit(str(error))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
