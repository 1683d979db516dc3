# SPDX-License-Identifier: Apache-2.0
"""Needles at depths in the report: a map a run on one colour scale, values in its squares, a table behind it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from reading import Page, page_of, panel_of
from several import DEPTHS, LENGTHS, answer, needle, run

from seal_attention.report.figures import depth_map_figure
from seal_attention.report.headline import effective_words
from seal_attention.report.sections.answers import ranked
from seal_attention.report.sizes import Size

METHODS = ("base", "seal-h", "seal-c")


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return page_of(tmp_path, *(needle(tmp_path / method, method) for method in METHODS))


def found_at(folder: Path, method: str, squares: dict[tuple[int, int], list[float]]) -> Path:
    """A run with the given scores by length and depth."""
    records = [
        answer("needle", {"length": length, "depth": depth}, index, method, {"contains": score})
        for (length, depth), scores in squares.items()
        for index, score in enumerate(scores)
    ]
    return run(folder, method, records)


def test_one_map_a_run_on_one_scale_from_none_to_all(page: Page) -> None:
    maps = [trace for figure in page.figures for trace in figure["data"] if trace["type"] == "heatmap"]
    assert len(maps) == 3
    assert {(trace["zmin"], trace["zmax"], trace["showscale"]) for trace in maps} == {(0, 1, False)}
    assert page.source.count('class="scale"') == 1  # which the page has once for all of them
    for trace in maps:
        assert (len(trace["z"]), len(trace["z"][0])) == (len(DEPTHS), len(LENGTHS))


def test_square_holds_its_value_and_tells_n_and_interval(tmp_path: Path) -> None:
    panel = panel_of(found_at(tmp_path / "run", "base", {(4096, 0): [1.0, 1.0, 1.0, 0.0], (8192, 100): [0.0] * 4}))
    figure = depth_map_figure(panel, panel.runs[0])
    trace = figure.data[0]
    assert [list(row) for row in trace.z] == [[0.75, None], [None, 0.0]]
    assert [list(row) for row in trace.text] == [["75", ""], ["", "0"]]
    assert (trace.x, trace.y) == (("4k", "8k"), ("0", "100"))
    assert trace.hovertemplate == "base, depth %{y}\u00a0%, %{x} tokens<br>%{customdata}<extra></extra>"
    assert trace.customdata[0][0] == "75\u00a0% right (30\u201395\u00a0%, n\u00a0=\u00a04)"
    assert figure.layout.yaxis.autorange == "reversed"  # the start of the text is on top
    assert list(figure.layout.xaxis.tickvals) == ["4k", "8k"]


def test_values_give_way_where_columns_are_too_narrow_for_them(tmp_path: Path) -> None:
    wide = needle(tmp_path / "run", "base", lengths=range(1000, 16001, 500), depths=range(0, 101, 5), questions=1)
    panel = panel_of(wide)
    figure = depth_map_figure(panel, panel.runs[0])
    assert {value for row in figure.data[0].text for value in row} == {""}
    assert len(figure.layout.xaxis.tickvals) <= 5
    assert len(figure.layout.yaxis.tickvals) <= 16


def test_table_behind_a_map_has_a_row_a_depth_and_a_column_a_length(tmp_path: Path) -> None:
    page = page_of(tmp_path, found_at(tmp_path / "run", "base", {(4096, 0): [1.0] * 4, (8192, 100): [0.0] * 4}))
    behind = next(t for t in re.findall(r"<table.*?</table>", page.source, re.DOTALL) if "by depth and size" in t)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", behind)]
    assert cells == [
        ["Depth", "4k\u00a0tokens", "8k\u00a0tokens"],
        ["0\u00a0%", "100\u00a0% (51\u2013100\u00a0%, n\u00a0=\u00a04)", "\u2013"],
        ["100\u00a0%", "\u2013", "0\u00a0% (0\u201349\u00a0%, n\u00a0=\u00a04)"],
    ]


def test_scores_by_length_are_of_all_depths_together(tmp_path: Path) -> None:
    panel = panel_of(found_at(tmp_path / "run", "base", {(4096, 0): [1.0, 1.0], (4096, 50): [0.0, 0.0, 0.0]}))
    score = panel.score(panel.runs[0], Size("length", 4096))
    assert (score.n, score.mean) == (5, 0.4)


def test_effective_length_asks_every_depth(tmp_path: Path) -> None:
    squares = {(1024, 0): [1.0], (1024, 50): [1.0], (2048, 0): [1.0] * 9, (2048, 50): [0.0]}  # 90 % together
    panel = panel_of(found_at(tmp_path / "run", "base", squares))
    assert effective_words(panel, panel.runs[0]) == "1k\u00a0tokens"


def test_runs_asked_at_different_depths_are_said_to_be(tmp_path: Path) -> None:
    base = found_at(tmp_path / "base", "base", {(4096, 0): [1.0], (4096, 50): [0.0]})
    tuned = found_at(tmp_path / "seal-c", "seal-c", {(4096, 50): [1.0]})
    assert "asked at different depths" in page_of(tmp_path, base, tuned).text
    gain = panel_of(base, tuned).gain(panel_of(base, tuned).runs[1], Size("length", 4096))
    assert (gain.n, gain.difference) == (1, 1.0)  # the pairs are at 50 % alone
    alike = found_at(tmp_path / "alike", "seal-c", {(4096, 0): [1.0], (4096, 50): [1.0]})
    assert "asked at different depths" not in page_of(tmp_path, base, alike).text


def test_questions_to_read_come_from_every_depth_in_turn(tmp_path: Path) -> None:
    squares = {(4096, 0): [1.0, 0.0], (4096, 50): [1.0, 1.0, 0.0], (4096, 100): [1.0]}
    shown = ranked(panel_of(found_at(tmp_path / "run", "base", squares)), Size("length", 4096))
    answers = [next(iter(row.values())) for row in shown]
    assert [(a.cell["depth"], a.score) for a in answers] == [(0, 0), (50, 0), (100, 1), (0, 1), (50, 1), (50, 1)]


def test_many_lengths_fold_their_long_tables_under_the_maps(tmp_path: Path) -> None:
    wide = [needle(tmp_path / m, m, lengths=range(1000, 16001, 500), depths=(0, 50), questions=1) for m in METHODS[:2]]
    page = page_of(tmp_path, *wide)
    assert page.text.index("By depth") < page.text.index("Scores at all 31\u00a0sizes")
    assert "Difference from base at every size" in page.text


def test_gain_never_leaves_its_scale(tmp_path: Path) -> None:
    base = found_at(tmp_path / "base", "base", {(4096, 0): [0.0] * 19 + [1.0]})
    tuned = found_at(tmp_path / "seal-c", "seal-c", {(4096, 0): [1.0] * 20})
    gain = panel_of(base, tuned).gain(panel_of(base, tuned).runs[1], Size("length", 4096))
    assert (gain.difference, gain.high) == (0.95, 1.0)


def test_a_map_marks_the_native_window_between_its_lengths(tmp_path: Path) -> None:
    folder = needle(tmp_path / "run", "base")
    (folder / "results.json").write_text('{"rows": [], "native_window": 2048}')
    panel = panel_of(folder)
    figure = depth_map_figure(panel, panel.runs[0])
    assert LENGTHS == (1024, 2048, 4096, 8192)
    assert [shape.x0 for shape in figure.layout.shapes] == [1.5]  # after the second column
    assert [note.text for note in figure.layout.annotations] == ["native window, 2k\u00a0tokens"]
    older = panel_of(needle(tmp_path / "older", "base"))  # whose results don't say
    assert not depth_map_figure(older, older.runs[0]).layout.shapes
