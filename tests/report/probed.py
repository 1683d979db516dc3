# SPDX-License-Identifier: Apache-2.0
"""A seed -> run folders as `seal probe` writes them, of a model of any size, with no model behind them."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fabricated import HEADS, LAYERS, MODEL, write, write_lines

Shape = tuple[int, int]  # layers, heads
SMALL = (LAYERS, HEADS)


def probes(folder: Path, shape: Shape = SMALL, kinds: Collection[str] = ()) -> list[Path]:
    """A run of every kind below `folder`, or of those asked for."""
    results = {
        "heads": heads(shape),
        "fast": {"maps": [head_map("first_order", "First-order effect", shape, lines=40)], "rank_correlation": 0.71},
        "quadrants": {"rows": rows(), "q1_heads": [[2, 1], [7, 1]], "best": {"q1": 0.5, "q3": 1.5}},
        "channels": {"strips": strips()},
        "direct": direct(shape),
        "retrieval": {"maps": [head_map("retrieval_score", "Retrieval score", shape, low=0.0, unit="share")]},
        "attention": {
            "maps": [head_map("needle_attention", "Attention to the needle", shape, low=0.0)],
            "bars": mass(),
        },
        "agree": agree(shape),
    }
    return [probe(folder / f"probe-{kind}", kind, held) for kind, held in results.items() if kind in (kinds or results)]


def probe(folder: Path, kind: str, results: Mapping[str, Any] | None, *, model: str = MODEL, **settings: Any) -> Path:
    """One run with those results, unfinished without."""
    known = {"probe": kind, "model": model, "method": "base", "tasks": "lines", "lines": "20,40"}
    write(folder, "probe", known | settings, None if results is None else {"probe": kind, **results})
    write_lines(folder / "heads.jsonl", [{"layer": None, "head": None}, {"layer": 0, "head": 0}])
    return folder


def head_map(
    name: str, title: str, shape: Shape = SMALL, *, low: float = -0.2, unit: str = "", neutral: float = 0.0, **cell: int
) -> dict[str, Any]:
    """A map whose head 1 of layer 2 is by far the highest, at 0.456."""
    dice = random.Random(f"{name}/{title}/{cell}")
    values = [[dice.uniform(low, 0.2) for _ in range(shape[1])] for _ in range(shape[0])]
    values[2][1] = 0.456
    return {
        "name": name, "title": title, "cell": cell, "layers": list(range(shape[0])), "values": values,
        "neutral": neutral, "unit": unit,
    }  # fmt: skip


def heads(shape: Shape = SMALL) -> dict[str, Any]:
    """Ablation at two sizes, and the change at one against that at the other."""
    titles = {
        "ablation_accuracy": "Change of accuracy, head silenced",
        "ablation_log_probability": "Change of log-probability, head silenced",
    }
    maps = [head_map(name, title, shape, lines=lines) for name, title in titles.items() for lines in (20, 40)]
    for held in maps:
        for end, step in (("low", -0.05), ("high", 0.05)):
            held[end] = [[value + step for value in row] for row in held["values"]]
    changes = [
        (layer, head, *(round(held["values"][layer][head], 2) for held in maps[:2]))
        for layer in range(shape[0])
        for head in range(shape[1])
    ]
    points = [{"layer": a, "head": b, "x": x, "y": y, "quadrant": quadrant(x, y)} for a, b, x, y in changes]
    title = {"title": "Change of accuracy at two sizes", "x_title": "at 20 lines", "y_title": "at 40 lines"}
    return {
        "maps": maps,
        "scatter": [{**title, "points": points}],
        "questions": [{"task": "lines", "cell": {"lines": lines}, "n": 64, "accuracy": 0.25} for lines in (20, 40)],
        "stability": {"between": [{"measure": "accuracy", "cells": cells(), "heads": 270, "spearman": 0.812}]},
    }


def cells() -> list[dict[str, Any]]:
    """Two sizes."""
    return [{"task": "lines", "cell": {"lines": lines}} for lines in (20, 40)]


def quadrant(x: float, y: float) -> int:
    """1 to 4 against the clock from both positive, 0 on an axis."""
    return 0 if x == 0 or y == 0 else (1 if y > 0 else 4) if x > 0 else (2 if y > 0 else 3)


def rows() -> list[dict[str, Any]]:
    """Quadrant scaling at two sizes."""
    return [
        {
            "method": "base", "task": "lines", "lines": lines, "n": 64, "accuracy": accuracy, "low": accuracy - 0.05,
            "high": accuracy + 0.1, "q1": q1, "q3": q3,
        }
        for lines in (20, 40)
        for q1, q3, accuracy in ((1.0, 1.0, 0.125), (0.5, 1.0, 0.25), (1.0, 1.5, 0.375), (0.5, 1.5, 0.5))
    ]  # fmt: skip


def strips(channels: int = 64) -> list[dict[str, Any]]:
    """Two heads, channel by channel."""
    dice = random.Random("strips")
    return [
        {
            "title": f"Change of log-probability with each channel of layer {layer}, head 1 silenced", "layer": layer,
            "head": 1, "cell": {"lines": 40},
            "values": [dice.gauss(0, 0.1) for _ in range(channels)], "unit": "nats",
        }
        for layer in (2, 7)
    ]  # fmt: skip


def direct(shape: Shape = SMALL) -> dict[str, Any]:
    """Direct effects on the right and the wrong token, before and after."""
    sides = [(token, when) for token in ("right", "wrong") for when in ("before", "after")]
    maps = [
        head_map("direct_effect", f"Direct effect on the {token} token, {when}", shape, unit="logits")
        for token, when in sides
    ]
    dice = random.Random("direct")
    series = [{"name": f"{a}, {b}", "values": [dice.gauss(0, 1) for _ in range(shape[0])]} for a, b in sides]
    bars = [
        {
            "title": f"Direct effect of each layer's {part}", "labels": [str(layer) for layer in range(shape[0])],
            "series": series, "unit": "logits",
        }
        for part in ("MLP", "attention")
    ]  # fmt: skip
    return {"maps": maps, "bars": bars, "largest_gap": 3.1e-05}


def bars_of(series: Mapping[str, list[float]], unit: str) -> dict[str, Any]:
    """Bars over the labels a and b."""
    named = [{"name": name, "values": values} for name, values in series.items()]
    return {"title": "some bars", "labels": ["a", "b"], "series": named, "unit": unit}


def mass() -> list[dict[str, Any]]:
    """Where some heads look."""
    labels = [f"layer {layer}, head 1" for layer in (2, 7, 9)]
    series = [{"name": name, "values": [share, 0.3, 0.5]} for name, share in (("needle", 0.4), ("first token", 0.5))]
    return [{"title": "Where attention goes", "labels": labels, "series": series, "unit": "share of attention"}]


def agree(shape: Shape = SMALL) -> dict[str, Any]:
    """Three measures, their rank correlations and the overlap of their top heads."""
    pairs = (
        ("seal-h scale", "ablation effect", 0.31),
        ("seal-h scale", "retrieval score", 0.12),
        ("ablation effect", "retrieval score", None),
    )
    interval = {"low": 0.05, "high": 0.4}
    return {
        "heads": shape[0] * shape[1],
        "measures": [{"name": name, "model": MODEL, "top": "highest"} for name in ("seal-h scale", "ablation effect")],
        "correlations": [{"a": a, "b": b, "spearman": r, **interval, "n": shape[0] * shape[1]} for a, b, r in pairs],
        "overlap": [{"a": a, "b": b, "top": 27, "shared": 9, "expected": 2.7, "p_value": 3e-05} for a, b, _ in pairs],
    }
