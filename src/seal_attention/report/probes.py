# SPDX-License-Identifier: Apache-2.0
"""The results.json of `seal probe` -> what the page draws of it, checked, whatever was probed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UsageError
from .head_map import HeadMap, head_map, number, numbers, rows

GENERIC = ("probe", "maps", "scatter", "strips", "bars", "rows", "correlations", "overlap")  # all else are facts
Part = TypeVar("Part")


@dataclass(frozen=True)
class Point:
    """A head at the place of two measures; `quadrant` 1 to 4, 0 on an axis."""

    layer: int
    head: int
    x: float
    y: float
    quadrant: int


@dataclass(frozen=True)
class Scatter:
    """Two measures of every head against each other."""

    title: str
    x_title: str
    y_title: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Strip:
    """A number for every channel of one head; 0 makes no difference. `title` says of what, without the head."""

    title: str
    layer: int
    head: int
    values: tuple[float | None, ...]
    unit: str
    cell: Mapping[str, int]


@dataclass(frozen=True)
class Bars:
    """Some series of numbers over the same labels."""

    title: str
    labels: tuple[str, ...]
    series: tuple[tuple[str, tuple[float | None, ...]], ...]
    unit: str


@dataclass(frozen=True)
class Row:
    """Questions answered under one setting of a probe; `setting` holds the cell and all other numbers of the row."""

    task: str
    setting: Mapping[str, float | str]
    n: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """How two maps of the heads agree.

    Spearman's rank correlation over `n` heads with its interval from `low` to `high`; or how many of their `top` heads
    are `shared`, how many are `expected` to be by chance, and with which probability as many are.
    """

    first: str
    second: str
    spearman: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    top: int = 0
    shared: int = 0
    expected: float | None = None
    p_value: float | None = None


@dataclass(frozen=True)
class Probe:
    """What one probe measured. `facts` are the results that no generic part holds, as they stand in the file."""

    maps: tuple[HeadMap, ...] = ()
    scatters: tuple[Scatter, ...] = ()
    strips: tuple[Strip, ...] = ()
    bars: tuple[Bars, ...] = ()
    rows: tuple[Row, ...] = ()
    agreements: tuple[Agreement, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def probe_of(results: Any, path: Path) -> Probe:
    """The parts of a probe's results; UsageError naming the file and the part that is not as it should be."""
    if not isinstance(results, dict):
        raise UsageError(f"{path} holds no results of a probe; run `seal probe` again")

    def parts(name: str, build: Callable[[Mapping[str, Any]], Part]) -> tuple[Part, ...]:
        built = []
        for place, record in enumerate(results.get(name) or (), start=1):
            try:
                built.append(build(record))
            except (TypeError, ValueError, KeyError, AttributeError) as error:
                raise UsageError(
                    f"{path}: number {place} of its {name} {_why(error)}; run `seal probe` again"
                ) from error
        return tuple(built)

    return Probe(
        maps=parts("maps", _map),
        scatters=parts("scatter", _scatter),
        strips=parts("strips", _strip),
        bars=parts("bars", _bars),
        rows=parts("rows", _row),
        agreements=(*parts("correlations", _agreement), *parts("overlap", _agreement)),
        facts={name: value for name, value in results.items() if name not in GENERIC},
    )


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"has no {error}"
    return str(error) if str(error).startswith("names") else f"can\u2019t be read ({error})"


def _map(record: Mapping[str, Any]) -> HeadMap:
    return head_map(
        record["layers"],
        record["values"],
        name=str(record["name"]),
        title=str(record["title"]),
        neutral=float(record["neutral"]),
        unit=str(record["unit"]),
        cell=_cell(record),
        low=rows(record.get("low", ())),
        high=rows(record.get("high", ())),
    )


def _scatter(record: Mapping[str, Any]) -> Scatter:
    points = tuple(
        Point(int(point["layer"]), int(point["head"]), x, y, int(point["quadrant"]))
        for point in record["points"]
        if (x := number(point["x"])) is not None and (y := number(point["y"])) is not None
    )
    for point in points:
        if point.quadrant not in range(5):
            raise ValueError(f"names quadrant {point.quadrant}, not one from 0 to 4")
    return Scatter(str(record["title"]), str(record["x_title"]), str(record["y_title"]), points)


def _strip(record: Mapping[str, Any]) -> Strip:
    layer, head = int(record["layer"]), int(record["head"])
    title = str(record["title"]).replace(f" of layer {layer}, head {head}", "")
    return Strip(title, layer, head, tuple(numbers(record["values"])), str(record["unit"]), _cell(record))


def _bars(record: Mapping[str, Any]) -> Bars:
    labels = tuple(map(str, record["labels"]))
    series = tuple((str(held["name"]), tuple(numbers(held["values"]))) for held in record["series"])
    for name, values in series:
        if len(values) != len(labels):
            raise ValueError(f"names {len(labels)} labels but {len(values)} values of {name!r}")
    return Bars(str(record["title"]), labels, series, str(record["unit"]))


def _row(record: Mapping[str, Any]) -> Row:
    figures = ("method", "task", "tokens", "n", "correct", "accuracy", "low", "high")
    setting = {
        str(name): value
        for name, value in record.items()
        if name not in figures and isinstance(value, int | float | str) and not isinstance(value, bool)
    }
    accuracy, low, high = (float(record[name]) for name in ("accuracy", "low", "high"))
    return Row(str(record["task"]), setting, int(record["n"]), accuracy, low, high)


def _agreement(record: Mapping[str, Any]) -> Agreement:
    figures = ("spearman", "low", "high", "expected", "p_value")
    spearman, low, high, expected, p_value = numbers(record.get(name) for name in figures)
    n, top, shared = (int(record.get(name) or 0) for name in ("n", "top", "shared"))
    return Agreement(str(record["a"]), str(record["b"]), spearman, low, high, n, top, shared, expected, p_value)


def _cell(record: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(value) for name, value in (record.get("cell") or {}).items()}
