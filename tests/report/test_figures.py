# SPDX-License-Identifier: Apache-2.0
"""The report's figures: every method keeps its colour, every figure has its table, maps share one scale."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fabricated import evaluation, fabricate, tuning
from reading import Page, page_of, panel_of
from several import lines_by_tokens

from seal_attention.report import build_report
from seal_attention.report.figures import score_figure
from seal_attention.report.folders import read_runs
from seal_attention.report.head_figures import head_map_figure
from seal_attention.report.head_map import HeadMap, span_of
from seal_attention.report.loss_figure import loss_figure
from seal_attention.report.panels import base_of


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("runs")
    return Page(build_report(fabricate(folder, questions=16), folder / "page.html"))


def test_hover_names_layer_and_head() -> None:
    trace = head_map_figure(HeadMap((0, 4), ((1.0, 1.1, 0.9), (1.0, 1.0, 1.27)), noun="scale"), span=0.5).data[0]
    assert trace.hovertemplate == "layer %{x}, head %{y}: scale %{z:.3~g}<extra></extra>"
    assert (trace.x[1], trace.y[2], trace.z[2][1]) == ("4", "2", 1.27)


def test_every_method_s_map_is_blank_at_one_and_dark_at_its_own_farthest_scale(page: Page) -> None:
    maps = [trace for figure in page.figures for trace in figure["data"] if trace["type"] == "heatmap"]
    assert len(maps) == 2
    for trace, loudest in zip(maps, (1.834, 1.27), strict=True):
        assert max(abs(scale - 1) for row in trace["z"] for scale in row) == pytest.approx(loudest - 1)
        assert (trace["zmin"], trace["zmax"]) == pytest.approx((2 - loudest, loudest))


def test_colours_of_untouched_scales_have_a_width() -> None:
    assert span_of([HeadMap((0,), ((1.0,),))]) > 0


def test_method_keeps_its_colour_in_every_figure(tmp_path: Path) -> None:
    panel = panel_of(*(evaluation(tmp_path / method, method, questions=2) for method in ("base", "seal-h", "seal-c")))
    tuned = read_runs([tuning(tmp_path / f"tune-{method}", method, steps=3) for method in ("seal-c", "seal-h")])
    for figure in (score_figure(panel), loss_figure(tuned)):
        colours = {trace.name: trace.line.color for trace in figure.data if trace.name}
        assert colours["SEAL-H"] == "var(--seal-h)"
        assert colours["SEAL-C"] == "var(--seal-c)"


def test_every_colour_of_a_figure_is_in_the_style_sheet_for_day_and_night(page: Page) -> None:
    style = page.source.split("<style>")[1].split("</style>")[0]
    day, night = style.split("@media screen and (prefers-color-scheme: dark)")
    filled = set(re.findall(r'"var\(--([\w-]+?)(-band|-faint)?\)"', json.dumps(page.figures)))
    assert {("seal-h", ""), ("seal-c", "-band"), ("seal-c", "-faint"), ("map-0", ""), ("text", "")} <= filled
    used = {name for name, _ in filled} | {"band", "faint"}
    for name in used:
        assert f"--{name}:" in day
        assert f"--{name}:" in night or name == "font"


def test_runs_of_one_method_differ_in_name_dash_and_colour(tmp_path: Path) -> None:
    whole, half = evaluation(tmp_path / "a", "seal-c", questions=2), evaluation(tmp_path / "b", "seal-c", strength=0.5)
    third = evaluation(tmp_path / "c", "seal-c", questions=2)
    panel = panel_of(whole, half, third)
    assert [run.label for run in panel.runs] == ["SEAL-C (a)", "SEAL-C, strength 0.5", "SEAL-C (c)"]
    lines = [trace.line for trace in score_figure(panel).data if trace.name]
    assert len({line.dash for line in lines}) == len({line.color for line in lines}) == 3
    assert lines[0].color == "var(--seal-c)"
    assert "swatch series-4" in page_of(tmp_path, whole, half, third).source


def test_runs_in_folders_of_one_name_are_told_apart_by_where_their_paths_differ(tmp_path: Path) -> None:
    places = ("short/ntk/seal-c", "long/ntk/seal-c", "seal-c", "other")
    runs = read_runs([evaluation(tmp_path / place, "seal-c", questions=2) for place in places])
    assert [run.label for run in runs] == [f"SEAL-C ({name})" for name in ("short/ntk", "long/ntk", "seal-c", "other")]


def test_every_figure_has_its_table_behind_it(page: Page) -> None:
    places = [attributes["data-figure"] for tag, attributes in page.tags if "data-figure" in attributes]
    assert places == [f"figure-{number}" for number in range(len(page.figures))]
    assert len(page.figures) == 4  # accuracy, loss, two maps
    assert page.text.count("Table behind this figure") == 4


def test_curves_over_lengths_mark_the_native_window_and_extensions_are_told_apart(tmp_path: Path) -> None:
    runs = [lines_by_tokens(tmp_path / "base", "base", questions=2)]
    runs += [lines_by_tokens(tmp_path / f"ntk-{m}", m, questions=2, extend="ntk:4") for m in ("base", "seal-c")]
    for folder in runs:
        (folder / "results.json").write_text('{"rows": [], "native_window": 2048}')
    panel = panel_of(*runs)
    traces = {trace.name: trace for trace in score_figure(panel).data if trace.name}
    assert set(traces) == {"base", "base, ntk:4", "SEAL-C, ntk:4", "native window, 2k\u00a0tokens"}
    assert traces["native window, 2k\u00a0tokens"].x == (2048, 2048)
    by_name = {run.label: run for run in panel.runs}
    assert base_of(by_name["SEAL-C, ntk:4"], panel.runs) is by_name["base, ntk:4"]
