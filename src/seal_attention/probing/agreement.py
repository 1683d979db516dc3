# SPDX-License-Identifier: Apache-2.0
"""Run folders -> how far learnt scales, ablation, first-order effects and retrieval scores agree about the heads.

Reads what others wrote; no model is loaded. Correlations are Spearman's over all heads, with percentile intervals from
heads drawn with replacement. The overlap of two measures' top heads stands beside what chance gives: of two draws of k
among N heads k * k / N are shared on the mean, and at least s with the hypergeometric tail's probability.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..runs import MANIFEST, RESULTS, load_json
from ..samples import named_size
from .head_maps import MATTER_MOST, read_maps
from .ranks import Numbers, spearman

SEAL_FILE = "seal.json"  # of an adapter folder (docs/formats.md)
RESAMPLES = 1000
MEASURES = {
    "ablation_log_probability": "ablation effect",
    "first_order": "first-order effect",
    "retrieval_score": "retrieval score",
}


@dataclass(frozen=True)
class Measure:
    """A figure of every head: `values` (heads of all layers,), NaN where a head has none; those that matter most have
    the `highest` values or the lowest. `model` is the model's name as its run states it."""

    title: str
    shape: tuple[int, ...]  # heads of each layer
    values: Numbers
    highest: bool
    model: str

    def top(self, count: int) -> set[int]:
        """Places of the `count` heads that matter most; of equal ones the lower layer's come first."""
        held = [place for place in range(len(self.values)) if not math.isnan(self.values[place])]
        sign = -1 if self.highest else 1
        return set(sorted(held, key=lambda place: (sign * self.values[place], place))[:count])


def measures_of(folder: Path) -> list[Measure]:
    """What a run folder (or an adapter folder) says of every head. UsageError where it says nothing."""
    for place in (folder, folder / "adapter"):
        if (place / SEAL_FILE).exists():
            return _scales(place)
    maps = [one for one in read_maps(folder) if one["name"] in MEASURES]
    if not maps:
        raise UsageError(
            f"{folder} holds none of what can be compared ({', '.join(MEASURES.values())}, learnt scales); give runs "
            "of `seal tune` or of `seal probe` heads, fast or retrieval"
        )
    whole = [one for one in maps if not one["cell"]] or maps  # over all cells, where a probe says that too
    model = str(load_json(folder / MANIFEST)["settings"].get("model", ""))
    return [_measure(one, model, named=len(whole) > 1) for one in whole]


def source_digest(folder: Path) -> str:
    """SHA-256 of the file that the measures of a folder come from."""
    files = [place / name for place in (folder, folder / "adapter") for name in (SEAL_FILE, RESULTS)]
    found = next((file for file in (files[0], files[2], files[1]) if file.exists()), None)
    if found is None:
        raise UsageError(f"{folder} holds neither {RESULTS} nor {SEAL_FILE}; give finished runs or adapters")
    return hashlib.sha256(found.read_bytes()).hexdigest()


def agreement(measures: Sequence[Measure], tops: Sequence[int], seed: int) -> dict[str, Any]:
    """Correlations and overlaps of each pair of measures, as results.json holds them.

    UsageError for fewer than two measures, for two of one name, for models of other shapes, for a measure without a
    figure, and for a top that is not smaller than the number of heads.
    """
    _require_comparable(measures, tops)
    pairs = list(itertools.combinations(measures, 2))
    return {
        "heads": len(measures[0].values),
        "measures": [{"name": one.title, "model": one.model, "top": "highest" if one.highest else "lowest"}
                     for one in measures],
        "correlations": [_correlation(a, b, seed) for a, b in pairs],
        "overlap": [_overlap(a, b, count) for count in tops for a, b in pairs if not _same_scales(a, b)],
    }  # fmt: skip


def _scales(folder: Path) -> list[Measure]:
    seal = load_json(folder / SEAL_FILE)
    if "heads" not in seal:
        raise UsageError(
            f"the adapter {folder} ({seal.get('method')}) has no scale of each head; give one of seal-h or seal-c"
        )
    shape = tuple(len(row) for row in seal["heads"])
    scales = np.array([value for row in seal["heads"] for value in row], dtype=np.float64)
    method, model = seal["method"], str(seal["base"]["name"])
    return [
        Measure(f"{method} scale", shape, scales, True, model),
        Measure(f"{method} |scale - 1|", shape, np.abs(scales - 1), True, model),
    ]


def _measure(one: Mapping[str, Any], model: str, *, named: bool) -> Measure:
    sizes = [named_size(name, value) for name, value in one["cell"].items()]
    size = ", ".join([one.get("task", ""), *sizes]).strip(", ")
    title = MEASURES[one["name"]] + (f" ({size})" if named else "")
    values = [math.nan if value is None else float(value) for row in one["values"] for value in row]
    shape = tuple(len(row) for row in one["values"])
    return Measure(title, shape, np.array(values), MATTER_MOST[one["name"]] is max, model)


def _same_scales(a: Measure, b: Measure) -> bool:
    """Whether both are of one adapter: its scale and the scale's distance from 1."""
    return a.title.partition(" ")[0] == b.title.partition(" ")[0] and a.title.startswith("seal-")


def _require_comparable(measures: Sequence[Measure], tops: Sequence[int]) -> None:
    if len(measures) < 2:
        raise UsageError(f"{len(measures)} measure of heads can't agree with anything; give at least two run folders")
    titles = [one.title for one in measures]
    if twice := [title for title in titles if titles.count(title) > 1]:
        raise UsageError(f"two of the folders hold the measure {twice[0]!r}; give one of them")
    other = next((one for one in measures if one.shape != measures[0].shape), None)
    if other is not None:
        first = measures[0]
        raise UsageError(
            f"{first.title} is of {len(first.shape)} layers and {len(first.values)} heads ({first.model}), "
            f"{other.title} of {len(other.shape)} and {len(other.values)} ({other.model}); give runs of one model"
        )
    if blank := [one.title for one in measures if np.isnan(one.values).all()]:
        raise UsageError(f"{blank[0]} measured no head; ask that probe more questions, or leave its folder out")
    if wrong := [count for count in tops if count >= len(measures[0].values)]:
        raise UsageError(
            f"--top {wrong[0]} takes in every head of {len(measures[0].values)}; ask for at most "
            f"{len(measures[0].values) - 1}"
        )


def _correlation(a: Measure, b: Measure, seed: int) -> dict[str, Any]:
    both = ~(np.isnan(a.values) | np.isnan(b.values))
    first, second = a.values[both], b.values[both]
    drawn = np.random.default_rng(seed).integers(0, len(first), (RESAMPLES, len(first)))
    found = spearman(first[drawn], second[drawn])
    found = found[~np.isnan(found)]
    low, high = np.percentile(found, (2.5, 97.5)) if len(found) else (math.nan, math.nan)
    figures = {"spearman": float(spearman(first, second)), "low": float(low), "high": float(high)}
    rounded = {name: round(value, 4) if math.isfinite(value) else None for name, value in figures.items()}
    return {"a": a.title, "b": b.title, **rounded, "n": len(first)}


def _overlap(a: Measure, b: Measure, count: int) -> dict[str, Any]:
    shared, every = len(a.top(count) & b.top(count)), len(a.values)
    tail = sum(math.comb(count, k) * math.comb(every - count, count - k) for k in range(shared, count + 1))
    return {"a": a.title, "b": b.title, "top": count, "shared": shared, "expected": round(count * count / every, 4),
            "p_value": round(tail / math.comb(every, count), 6)}  # fmt: skip
