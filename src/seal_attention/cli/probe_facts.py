# SPDX-License-Identifier: Apache-2.0
"""The results of a probe -> the few facts of it that are worth a line in a terminal, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..console import size_of
from ..samples import named_size

Results = Mapping[str, Any]
UNITS = {"accuracy": "of the questions", "log_probability": "nats"}


def of_heads(found: Results) -> dict[str, str]:
    """How the base fares, which heads matter most at the largest size, and whether the order of heads is kept."""
    facts = {
        f"base, {_where(each)}": f"{each['accuracy']:.2f} of {each['n']} answers exact, log-probability "
        f"{each['log_probability']:.2f}"
        for each in found["questions"]
    }
    for head_map in found["maps"][-2:]:
        changes = [
            (value, layer, head)
            for layer, row in zip(head_map["layers"], head_map["values"], strict=True)
            for head, value in enumerate(row)
        ]
        measure = head_map["name"].removeprefix("ablation_")
        for name, (value, layer, head) in (("helps most", max(changes)), ("hurts most", min(changes))):
            facts[f"{name} silenced, {measure.replace('_', '-')}"] = (
                f"layer {layer}, head {head}: {value:+.3f} {UNITS[measure]} at {_where(head_map)}"
            )
    for each in found["stability"]["between"]:
        between = " and ".join(_where(cell) for cell in each["cells"])
        facts[f"rank correlation, {each['measure'].replace('_', '-')}"] = f"{_correlation(each)} between {between}"
    for each in found["stability"]["halves"]:
        facts[f"of half the questions, {each['measure'].replace('_', '-')}, {_where(each)}"] = _correlation(each)
    return facts


def of_fast(found: Results) -> dict[str, str]:
    """How far the first-order order of heads is the exact one."""
    return {
        f"rank correlation with the exact effect, {_where(each)}": f"{_signed(each['spearman'])} over {each['over']}"
        for each in found["rank_correlation"]
    }


def of_quadrants(found: Results) -> dict[str, str]:
    """Every setting's accuracy, the best of them, and its adapter."""
    facts = {
        f"q1 x {row['q1']:g}, q3 x {row['q3']:g}, {size_of({k: v for k, v in row.items() if k not in ('q1', 'q3')})}": (
            f"{row['accuracy']:.2f}  ({row['low']:.2f} - {row['high']:.2f}, n = {row['n']})"
        )
        for row in found["rows"]
    }
    best = found["best"]
    facts["best"] = (
        f"q1 x {best['q1']:g}, q3 x {best['q3']:g}: {best['accuracy']:.2f} (base {best['base_accuracy']:.2f}); chosen "
        "on these questions, so ask others before trusting it"
    )
    return {**facts, "adapter": found["adapter"]}


def of_channels(found: Results) -> dict[str, str]:
    """In each head the channel whose silencing helps most, and the one whose silencing hurts most."""
    facts = {}
    for strip in found["strips"]:
        values = strip["values"]
        best, worst = max(range(len(values)), key=values.__getitem__), min(range(len(values)), key=values.__getitem__)
        place = f"layer {strip['layer']}, head {strip['head']}, {strip['measure'].replace('_', '-')}, {_where(strip)}"
        facts[place] = (
            f"channel {best}: {values[best]:+.3f}, channel {worst}: {values[worst]:+.3f} " + UNITS[strip["measure"]]
        )
    return facts


def _where(found: Results) -> str:
    """A cell in words: its task, then its sizes."""
    return ", ".join([found["task"], *(named_size(name, value) for name, value in found["cell"].items())])


def _signed(value: float | None) -> str:
    return "none" if value is None else f"{value:+.2f}"


def _correlation(found: Results) -> str:
    """A rank correlation with its interval, and that of the control."""
    if found["spearman"] is None:
        return "none, all heads change it alike"
    low, high, random_low, random_high = (
        _signed(found[name]) for name in ("low", "high", "shuffled_low", "shuffled_high")
    )
    return f"{_signed(found['spearman'])} ({low} to {high}; shuffled heads {random_low} to {random_high})"
