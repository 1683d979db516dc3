# SPDX-License-Identifier: Apache-2.0
"""Probe runs -> their sections: settings with their accuracy, bars, channel strips, agreements, all other results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..folders import RunFolder
from ..head_figures import strips_figure
from ..markup import Html, element, table
from ..parts import figure_place, folded, labelled, loose
from ..probe_figures import agreement_figure, bars_figure, settings_figure
from ..probes import Agreement, Bars, Probe, Row, Strip
from ..sizes import size_of
from ..wording import (
    CONFIDENCE,
    DASH,
    between,
    capital,
    chance,
    clipped,
    count,
    interval,
    listed,
    percent,
    plain_number,
    signed_number,
)

if TYPE_CHECKING:
    import plotly.graph_objects as go

SIZES = {"lines": "lines", "lengths": "tokens"}  # as they were typed, and what they count
MOST_ROWS = 50  # of a list among the results that the page has no figure for
FEW_ROWS = 10  # of such a list that is open from the start


def probes_section(runs: Sequence[RunFolder], figures: list[go.Figure]) -> list[Html]:
    """Every probe with what is not in the maps of the heads."""
    parts: list[Html] = []
    for run in runs:
        parts.append(element("h3", labelled(run)))
        parts.append(_measured(run))
        if run.probe:
            parts += _probe(run, run.probe, figures)
    return parts


def _measured(run: RunFolder) -> Html:
    """What was probed, on what; and where its maps are."""
    typed = {noun: str(run.settings.get(name) or "").replace(",", ", ") for name, noun in SIZES.items()}
    sizes = [f"{amounts} {noun}" for noun, amounts in typed.items() if amounts]
    asked = " at ".join(filter(None, (_tasks(run), *sizes)))
    words = [": ".join(filter(None, (run.model, asked)))]
    if run.probe is None:
        words.append(f"unfinished: {count(run.records, 'record')} so far, and no results yet")
    drawn = [(len(held), noun) for held, noun in _drawn_above(run.probe) if held]
    link = element("a", listed([count(*held) for held in drawn]), href="#heads")
    above = [" ", link, " above, among those of the heads."] if drawn else []
    return element("p", f"{', '.join(words)}.", *above, class_="note")


def _tasks(run: RunFolder) -> str:
    return str(run.settings.get("tasks") or run.settings.get("task") or "").replace(",", ", ")


def _drawn_above(probe: Probe | None) -> list[tuple[Sequence[Any], str]]:
    """What of a probe stands in the section of the heads."""
    return [(probe.maps, "map"), (probe.scatters, "scatter plot")] if probe else []


def _probe(run: RunFolder, probe: Probe, figures: list[go.Figure]) -> list[Html]:
    parts = [_settings(run, rows, figures) for rows in _together(probe.rows, lambda row: (row.task, _size(row)))]
    parts += [_bars(run, bars, figures) for bars in probe.bars]
    parts += [_strips(run, held, figures) for held in _together(probe.strips, lambda strip: (strip.title, strip.unit))]
    if probe.agreements:
        parts += _agreements(run, probe.agreements, figures)
    return parts + _facts(probe.facts)


def _together(parts: Iterable[Any], key: Any) -> list[list[Any]]:
    """Parts with the same key together, in the order of their first."""
    groups: dict[Any, list[Any]] = {}
    for part in parts:
        groups.setdefault(key(part), []).append(part)
    return list(groups.values())


# ---- settings with their accuracy


def _settings(run: RunFolder, rows: Sequence[Row], figures: list[go.Figure]) -> Html:
    names = _row_names(rows)
    size = _size(rows[0])
    what = f"{rows[0].task}{f' at {size}' if size else ''}"
    caption = f"Share of {what} answered right under each setting, with {CONFIDENCE} intervals."
    cells = [[percent(row.accuracy), interval(row.low, row.high), f"{row.n:,}"] for row in rows]
    behind = table(caption, ["Setting", "Right", "Interval", "n"], [[n, *c] for n, c in zip(names, cells, strict=True)])
    figure = settings_figure(rows, names)
    return figure_place(figures, figure, f"{what}, {run.label}", caption, behind, "settings", rows=len(rows))


def _size(row: Row) -> str:
    """The size of a row's questions; empty where it names none."""
    cell = {name: int(row.setting[name]) for name in ("length", "lines") if isinstance(row.setting.get(name), int)}
    return size_of(cell).name if cell else ""


def _row_names(rows: Sequence[Row]) -> list[str]:
    """What tells the rows apart: their settings that are not the same in all; their number where all are."""
    keys = list(dict.fromkeys(key for row in rows for key in row.setting))
    telling = [key for key in keys if len({row.setting.get(key) for row in rows}) > 1]
    return [
        ", ".join(f"{key} = {_value(row.setting[key])}" for key in telling if key in row.setting) or f"setting {place}"
        for place, row in enumerate(rows, start=1)
    ]


# ---- bars and strips


def _bars(run: RunFolder, bars: Bars, figures: list[go.Figure]) -> Html:
    header = ["", *(name for name, _ in bars.series)]
    rows = [[label, *(_signed(values[place]) for _, values in bars.series)] for place, label in enumerate(bars.labels)]
    caption = f"{capital(bars.title)}{f' ({bars.unit})' if bars.unit else ''}"
    behind = table(caption, header, rows, "numbers")
    figure = bars_figure(bars)
    return figure_place(figures, figure, f"{bars.title}, {run.label}", caption, behind, runs=len(bars.series))


def _strips(run: RunFolder, strips: Sequence[Strip], figures: list[go.Figure]) -> Html:
    """Strips that show the same quantity, one below the other."""
    sizes = [size_of(strip.cell).name if strip.cell else "" for strip in strips]
    several = len(set(sizes)) > 1
    names = [
        f"layer {strip.layer}, head {strip.head}{f', {size}' if several else ''}"
        for strip, size in zip(strips, sizes, strict=True)
    ]
    title, unit = strips[0].title, strips[0].unit
    at = f", {sizes[0]}" if sizes[0] and not several and sizes[0] not in title else ""
    caption = f"{title}{at}{f' ({unit})' if unit else ''}. One square a channel, blank where it makes no difference."
    channels = max(len(strip.values) for strip in strips)
    rows = [[name, *map(_signed, strip.values)] for name, strip in zip(names, strips, strict=True)]
    behind = table(f"{title}, every channel", ["Head", *map(str, range(channels))], rows, "numbers")
    figure = strips_figure(strips, names)
    return figure_place(figures, figure, f"{title}, {run.label}", caption, behind, "strips", rows=len(strips))


# ---- agreements and other results


def _agreements(run: RunFolder, agreements: Sequence[Agreement], figures: list[go.Figure]) -> list[Html]:
    ranked, tops = ([pair for pair in agreements if bool(pair.top) == top] for top in (False, True))
    parts = []
    if ranked:
        caption = "Spearman\u2019s rank correlation of the heads by two measures; 1 where both rank them alike."
        rows = [
            [f"{pair.first} and {pair.second}", _signed(pair.spearman) + between(pair.low, pair.high), f"{pair.n:,}"]
            for pair in ranked
        ]
        behind = table(f"{caption} In brackets its {CONFIDENCE} interval.", ["Measures", "Correlation", "Heads"], rows)
        names = {name for pair in ranked for name in (pair.first, pair.second)}
        figure = agreement_figure(ranked)
        name = f"{run.label}, rank correlations"
        parts.append(figure_place(figures, figure, name, caption, behind, "agreement", rows=len(names)))
    if tops:
        caption = "How many of the top heads two measures share, and how many chance alone would make them share"
        parts.append(
            table(
                caption, ["Measures", "Top", "Shared", "By chance", "Chance of as many"], map(_overlap, tops), "numbers"
            )
        )
    return parts


def _overlap(pair: Agreement) -> list[str]:
    expected = DASH if pair.expected is None else f"{pair.expected:.1f}"
    probability = DASH if pair.p_value is None else chance(pair.p_value)
    return [f"{pair.first} and {pair.second}", str(pair.top), str(pair.shared), expected, probability]


def _facts(facts: Mapping[str, Any]) -> list[Html]:
    """Results that no figure shows: single values in one table, lists of records in a table each."""
    flat = _flat(facts)
    lists = {name: value for name, value in flat.items() if _are_records(value)}
    single = [[_words(name), loose(_value(value))] for name, value in flat.items() if name not in lists]
    parts = [table("Other results", ["Result", "Value"], single, "facts")] if single else []
    for name, records in lists.items():
        header = list(dict.fromkeys(key for record in records for key in record))
        shown = [[_value(record.get(key), key) for key in header] for record in records[:MOST_ROWS]]
        rest = f", {MOST_ROWS} of {len(records):,}: all stand in results.json" if len(records) > MOST_ROWS else ""
        title = f"{capital(_words(name))}{rest}"
        records_table = table(title, [capital(_words(key)) for key in header], shown, "numbers facts")
        parts.append(folded(f"{title} ({count(len(shown), 'row')})", records_table, len(shown) > FEW_ROWS))
    return parts


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of facts beside each other, under both names."""
    flat: dict[str, Any] = {}
    for name, value in facts.items():
        held = {f"{name}, {inner}": deeper for inner, deeper in value.items()} if isinstance(value, dict) else {}
        flat |= held or {name: value}
    return flat


def _are_records(value: Any) -> bool:
    """Whether it is a list of records, which a table can show."""
    return isinstance(value, list) and bool(value) and all(isinstance(record, dict) and record for record in value)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _signed(value: float | None) -> str:
    return DASH if value is None else signed_number(value)


def _value(value: Any, name: str = "") -> str:
    """Anything that JSON holds, as a table shows it: a cell as its size, a pair of numbers as `layer:head`."""
    if value is None or value in ({}, []):
        return DASH
    if isinstance(value, float):
        return plain_number(value)
    if isinstance(value, dict):
        if name == "cell":
            return size_of(value).name
        if set(value) == {"task", "cell"}:
            return f"{value['task']}, {_value(value['cell'], 'cell')}"
        return ", ".join(f"{_words(key)} {_value(inner, key)}" for key, inner in value.items())
    if isinstance(value, list):
        pair = len(value) == 2 and all(isinstance(part, int) for part in value)
        return clipped((":" if pair else "; ").join(map(_value, value)))
    return str(value)
