# SPDX-License-Identifier: Apache-2.0
"""This machine -> benchmarks/results.json: how much longer, or larger, everybody else's way is than ours.

Each ratio is theirs / ours (higher is better), the median of paired repeats; the pairs are under `raw`. Every figure is
kept in benchmarks/pairs.jsonl as it is measured: stop at any time, the same command goes on. Delete that file to begin
anew. `--quick` proves in minutes that everything works; its figures mean nothing and go to quick.json and quick.jsonl.

    python benchmarks/run.py [--only NAME] [--quick] [--repeats 3] [--peer-questions N] [--adapter FOLDER]
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pairing import Asked, Comparison, Records, measure, minutes
from seal_attention.errors import SealError, UsageError
from seal_attention.runs import save_json

MODULES = {
    "tuning": "tuning_cost",
    "evaluation_vs_generate": "evaluation_generate",
    "evaluation_vs_lm_eval": "evaluation_lm_eval",
    "flops": "achieved_flops",
    "ablation_sweep": "ablation_sweep",
    "time_to_accuracy": "time_to_accuracy",
}
FOLDER = Path(__file__).parent


def say(text: str) -> None:
    """A line for people, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def typed() -> tuple[Asked, list[str]]:
    """The command line: what was asked for, and the names given to --only."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a comparison, or how it begins")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything works")
    parser.add_argument("--repeats", type=int, help="pairs of each comparison [default: 3, quick 1]")
    parser.add_argument(
        "--peer-questions", type=int, help="questions that Trainer measures [default: by length 8, 2, 1]"
    )
    parser.add_argument("--adapter", type=Path, default=Path("runs/demo/tune-seal-c/adapter"), help="a tuned adapter")
    options = parser.parse_args()
    repeats = (1 if options.quick else 3) if options.repeats is None else options.repeats
    for name, value in (("repeats", repeats), ("peer-questions", options.peer_questions)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} must be at least 1, not {value}")
    return Asked(options.quick, repeats, options.peer_questions, options.adapter), options.only


def planned(asked: Asked) -> tuple[list[Comparison], dict[str, str]]:
    """Every comparison that can be made here, and by name a sentence for those that can't."""
    comparisons: list[Comparison] = []
    left_out = {}
    for name, module in MODULES.items():
        try:
            comparisons += importlib.import_module(module).comparisons(asked)
        except UsageError as error:
            left_out[name] = str(error)
    return comparisons, left_out


def chosen(comparisons: Sequence[Comparison], only: Sequence[str]) -> list[Comparison]:
    """The comparisons whose names begin as --only says, all of them without it. UsageError for a name of none."""
    names = [*MODULES, *(comparison.name for comparison in comparisons)]
    for beginning in only:
        if not any(name.startswith(beginning) for name in names):
            raise UsageError(f"--only {beginning} names no comparison; choose {', '.join(dict.fromkeys(names))}")
    return [c for c in comparisons if not only or any(c.name.startswith(beginning) for beginning in only)]


def announce(comparisons: Sequence[Comparison], records: Records) -> None:
    """Say what is about to be measured and what it will take."""
    for comparison in comparisons:
        left = [job for job in comparison.jobs() if records.figures(job) is None]
        cost = f"about {minutes(sum(job.side.seconds for job in left))}" if left else "measured already"
        often = "once" if comparison.repeats == 1 else f"{comparison.repeats} times"
        say(f"{comparison.name}: {' against '.join(comparison.sides)}, {often}; {cost}")


def results_of(comparisons: Sequence[Comparison], records: Records, left_out: Mapping[str, str]) -> dict[str, Any]:
    """Everything measured so far -> `ratios`, a number each, and `raw`, what they came from."""
    ratios: dict[str, float] = {}
    raw: dict[str, Any] = {"machine": records.machine, "left_out": dict(left_out)}
    for comparison in comparisons:
        repeats = records.repeats(comparison)
        if repeats:
            summary = importlib.import_module(comparison.module).summarise(comparison, repeats)
            ratios |= {name: spread["median"] for name, spread in summary["ratios"].items()}
            settings = {name: dict(side.settings) for name, side in comparison.sides.items()}
            raw[comparison.name] = {**summary, "settings": settings, "repeats": repeats}
    return {"ratios": ratios, "raw": raw}


def main() -> None:
    """Measure what is missing and write the results; an interruption writes those there are."""
    asked, only = typed()
    name = "quick" if asked.quick else "results"
    records = Records.open(FOLDER / ("quick.jsonl" if asked.quick else "pairs.jsonl"))
    comparisons, left_out = planned(asked)
    wanted = chosen(comparisons, only)
    for left, sentence in left_out.items():
        say(f"{left} left out: {sentence}")
    announce(wanted, records)
    jobs = [job for comparison in wanted for job in comparison.jobs() if records.figures(job) is None]
    say(f"about {minutes(sum(job.side.seconds for job in jobs))} in all; stop at any time, the same command goes on")
    failures: list[str] = []
    try:
        failures = measure(jobs, records, say)
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
    results = results_of(comparisons, records, left_out)
    save_json(FOLDER / f"{name}.json", results)
    for ratio, value in results["ratios"].items():
        print(f"{ratio}: theirs / ours = {value:.2f}")
    say(f"written: {FOLDER / name}.json")
    if failures:
        sys.exit(f"{len(failures)} measurements failed, the first: {failures[0]}")


if __name__ == "__main__":
    try:
        main()
    except SealError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
