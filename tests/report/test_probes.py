# SPDX-License-Identifier: Apache-2.0
"""Probes in the report: what each wrote is drawn and tabled, a model of a thousand heads fits, foreign files do not."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fabricated import evaluation, tuning
from probed import SMALL, agree, bars_of, head_map, heads, probe, probes, strips
from reading import ATTACK, Page, page_of

from seal_attention.errors import UsageError
from seal_attention.report import build_report
from seal_attention.report.folders import read_runs
from seal_attention.report.head_figures import head_map_figure, scatter_figure, strips_figure
from seal_attention.report.probe_figures import agreement_figure, bars_figure, settings_figure

LARGE = (32, 32)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A page of 5,000 answers, two tunings and every probe, of a model with 32 x 32 heads."""
    folder = tmp_path_factory.mktemp("large")
    runs = [evaluation(folder / method, method, questions=417) for method in ("base", "seal-h", "seal-c")]
    runs += [tuning(folder / f"tune-{method}", method, shape=LARGE) for method in ("seal-h", "seal-c")]
    return Page(build_report([*runs, *probes(folder, LARGE)], folder / "page.html"))


def figures(page: Page, kind: str) -> list[dict[str, Any]]:
    """The traces of a kind."""
    return [trace for figure in page.figures for trace in figure["data"] if trace["type"] == kind]


def probed(tmp_path: Path, kind: str, **results: Any) -> Any:
    """What is read of one probe."""
    (run,) = read_runs([probe(tmp_path / kind, kind, results)])
    return run.probe


def test_a_model_of_a_thousand_heads_with_five_thousand_answers_stays_under_six_megabytes(page: Page) -> None:
    assert len(page.source.encode()) < 6_000_000
    assert "3\u00a0evaluations with 5,004\u00a0answers in all, 2\u00a0tuning runs and 8\u00a0probes" in page.text
    assert page.source.count("<article") == 40  # answers still have their room


def test_every_part_of_every_probe_is_drawn_with_its_table(page: Page) -> None:
    maps = [trace for trace in figures(page, "heatmap") if len(trace["y"]) == 32]
    assert len(maps) == 2 + 4 + 1 + 4 + 1 + 1  # scales, ablation, first order, direct, retrieval, attention
    assert len(figures(page, "bar")) == 2 * 4 + 2
    assert page.text.count("Table behind this figure") == len(page.figures)
    for kind in ("head ablation", "fast ablation", "quadrant scaling", "channel ablation", "direct effects"):
        assert f"{kind}" in page.text
    assert page.source.count("<tr>") > 13 * 32 + 1024  # a row a layer of every map, a row a head of the scatter


def test_maps_of_one_quantity_reach_equally_far_around_their_neutral_value(tmp_path: Path) -> None:
    maps = [head_map("a", "first"), head_map("a", "second"), head_map("b", "third"), head_map("c", "of one", neutral=1)]
    maps[1]["values"][0][0] = -0.9
    page = page_of(tmp_path, probe(tmp_path / "probe", "heads", {"maps": maps}))
    traces = figures(page, "heatmap")
    assert [trace["zmax"] for trace in traces[:3]] == pytest.approx([0.9, 0.9, 0.456])
    assert [trace["zmin"] + trace["zmax"] for trace in traces] == pytest.approx([0, 0, 0, 2])
    farthest = max(abs(value - 1) for row in traces[3]["z"] for value in row)
    assert traces[3]["zmax"] == pytest.approx(1 + farthest, abs=1e-3)


def test_a_map_tells_sign_unit_and_interval_and_says_its_size_once(tmp_path: Path) -> None:
    held = head_map("a", "change (lines, 40 lines)", unit="nats", lines=40)
    held["values"] = [[None, 0.25], [-0.5, 0.0]]
    held["layers"] = [3, 7]
    ends = {"low": [[None, 0.1], [-0.75, 0.0]], "high": [[None, 0.5], [-0.25, 0.0]]}
    found = probed(tmp_path, "heads", maps=[held | ends]).maps[0]
    trace = head_map_figure(found, 0.5).data[0]
    assert (trace.x, trace.y) == (("3", "7"), ("0", "1"))
    assert [list(row) for row in trace.z] == [[None, -0.5], [0.25, 0.0]]
    assert trace.hovertemplate.startswith("layer %{x}, head %{y}: %{z:+.3~g} nats%{customdata}")
    assert trace.customdata[0][1] == " (-0.75 to -0.25)"
    page = page_of(tmp_path, tmp_path / "heads")
    assert "Highest: layer 3, head 1 (+0.25). Lowest: layer 7, head 0 (\u22120.5)." in page.text
    assert "at 40\u00a0lines" not in page.text
    assert "0.25 (+0.1 to +0.5)" in page.text


def test_no_head_stands_out_where_all_are_alike_or_none_was_measured(tmp_path: Path) -> None:
    alike, none = (head_map("a", "b") | {"layers": [0], "values": [[value, value]]} for value in (0.0, None))
    page = page_of(tmp_path, probe(tmp_path / "probe", "heads", {"maps": [alike, none]}))
    assert "All heads have the same value (0)." in page.text
    assert "No head has a value." in page.text
    assert "Highest" not in page.text


def test_the_scatter_holds_every_head_in_its_quadrant(tmp_path: Path) -> None:
    found = probed(tmp_path, "heads", **heads()).scatters[0]
    traces = scatter_figure(found).data
    assert sum(len(trace.x) for trace in traces) == SMALL[0] * SMALL[1]
    signs = {"Q1": (1, 1), "Q2": (-1, 1), "Q3": (-1, -1), "Q4": (1, -1)}
    for trace in traces:
        if trace.name[:2] in signs:
            assert all((x > 0) - (x < 0) == signs[trace.name[:2]][0] for x in trace.x)
            assert all((y > 0) - (y < 0) == signs[trace.name[:2]][1] for y in trace.y)


def test_strips_of_one_quantity_stand_below_each_other(tmp_path: Path) -> None:
    given = strips(channels=4)
    given[0]["values"] = [None, 0.5, -0.25, 0.0]
    found = probed(tmp_path, "channels", strips=given).strips
    assert {strip.title for strip in found} == {"Change of log-probability with each channel silenced"}
    trace = strips_figure(found, ["layer 2, head 1", "layer 7, head 1"]).data[0]
    assert trace.y == ("layer 2, head 1", "layer 7, head 1")
    assert list(trace.z[0]) == [None, 0.5, -0.25, 0.0]
    assert (trace.zmin, trace.zmax) == (-0.5, 0.5)
    assert len(page_of(tmp_path, tmp_path / "channels").figures) == 1


def test_shares_of_one_whole_are_stacked_and_effects_stand_side_by_side(tmp_path: Path) -> None:
    effects, shares, high = (
        bars_of({"up": [1.0, -2.0], "down": [0.5, 0.25]}, "logits"),
        bars_of({"needle": [0.4, 0.1], "rest": [0.6, 0.9]}, "share of attention"),
        bars_of({"needle": [0.9, 0.1], "rest": [0.6, 0.9]}, "share of attention"),
    )
    found = probed(tmp_path, "direct", bars=[effects, shares, high]).bars
    assert [bars_figure(held).layout.barmode for held in found] == ["group", "stack", "group"]
    assert [list(trace.y) for trace in bars_figure(found[0]).data] == [[1.0, -2.0], [0.5, 0.25]]


def test_names_below_few_bars_go_on_in_the_next_line(tmp_path: Path) -> None:
    held = bars_of({"needle": [0.4, 0.1]}, "share") | {"labels": ["layer 12, head 1", "<b>"]}
    axis = bars_figure(probed(tmp_path, "attention", bars=[held]).bars[0]).layout.xaxis
    assert axis.tickvals == ("layer 12, head 1", "&lt;b&gt;")
    assert axis.ticktext == ("layer 12,<br>head 1", "&lt;b&gt;")


def test_settings_are_named_by_what_differs_between_them(tmp_path: Path) -> None:
    page = page_of(tmp_path, *(path for path in probes(tmp_path) if path.name == "probe-quadrants"))
    assert [trace["y"] for trace in figures(page, "scatter")] == [
        ["q1 = 1, q3 = 1", "q1 = 0.5, q3 = 1", "q1 = 1, q3 = 1.5", "q1 = 0.5, q3 = 1.5"]
    ] * 2
    assert "lines at 20\u00a0lines answered right under each setting" in page.text
    assert "50\u00a0%" in page.text
    found = probed(tmp_path, "quadrants", rows=[{"task": "lines", "n": 4, "accuracy": 0.5, "low": 0.2, "high": 0.9}])
    (trace,) = settings_figure(found.rows, ["all"]).data
    assert (trace.x[0], trace.error_x.arrayminus[0], trace.error_x.array[0]) == pytest.approx((50, 30, 40))


def test_agreement_is_the_same_from_both_sides_and_stands_beside_chance(tmp_path: Path) -> None:
    found = probed(tmp_path, "agree", **agree()).agreements
    trace = agreement_figure([pair for pair in found if not pair.top]).data[0]
    assert (trace.z[0][1], trace.z[1][0], trace.z[0][0], trace.z[1][2]) == (0.31, 0.31, None, None)
    page = page_of(tmp_path, tmp_path / "agree")
    assert "+0.31 (+0.05 to +0.4)" in page.text
    assert re.search(r"27\s*9\s*2\.7\s*p\u00a0<\u00a00\.001", page.text)


def test_results_without_a_figure_are_told_all_the_same(tmp_path: Path) -> None:
    page = page_of(
        tmp_path, probe(tmp_path / "heads", "heads", heads()), probe(tmp_path / "new", "unheard-of", {"x": 3})
    )
    assert "lines, 20\u00a0lines; lines, 40\u00a0lines" in page.text
    assert "unheard-of" in page.text


def test_a_probe_alone_makes_a_page_and_an_unfinished_one_says_how_far_it_is(tmp_path: Path) -> None:
    page = page_of(tmp_path, probe(tmp_path / "a", "fast", {"maps": [head_map("first_order", "effect")]}))
    assert "smollm2-135m, head by head." in page.text
    page = page_of(tmp_path, probe(tmp_path / "b", "heads", None, method="seal-h"))
    assert "head ablation of SEAL-H" in page.text
    assert "unfinished: 2\u00a0records so far, and no results yet" in page.text


def test_markup_in_a_probe_stays_text_even_in_figures(tmp_path: Path) -> None:
    results = {
        "maps": [head_map("a", ATTACK, unit=ATTACK)],
        "scatter": [{"title": ATTACK, "x_title": ATTACK, "y_title": ATTACK, "points": heads()["scatter"][0]["points"]}],
        "strips": [strips(4)[0] | {"title": ATTACK, "unit": ATTACK}],
        "bars": [bars_of({ATTACK: [1.0, 2.0]}, ATTACK) | {"title": ATTACK, "labels": [ATTACK, "b"]}],
        "correlations": [{"a": ATTACK, "b": "b", "spearman": 0.5, "n": 3}],
        "rows": [{"task": ATTACK, "n": 1, "accuracy": 1, "low": 0, "high": 1, ATTACK: value} for value in ("a", "b")],
        ATTACK: [{ATTACK: ATTACK}],
    }
    page = page_of(tmp_path, probe(tmp_path / "probe", ATTACK, results))
    assert len(page.figures) == 6
    assert "img" not in [tag for tag, _ in page.tags]
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 2 + len(page.figures)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "<img" not in json.dumps(page.figures)  # plotly would read it as a tag


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ({"maps": [head_map("a", "b") | {"layers": [0]}]}, "number 1 of its maps names 1 layers but scales of 30"),
        ({"maps": [{"name": "a"}]}, "number 1 of its maps has no 'layers'"),
        ({"maps": [head_map("a", "b") | {"low": [[0.0]]}]}, "intervals of other heads"),
        ({"bars": [bars_of({"up": [1.0]}, "")]}, "names 2 labels but 1 values of 'up'"),
        ({"scatter": [{"title": "a", "x_title": "b", "y_title": "c", "points": [
            {"layer": 0, "head": 0, "x": 1, "y": 1, "quadrant": 7}]}]}, "names quadrant 7"),
        ({"rows": ["a"]}, "number 1 of its rows can\u2019t be read"),
    ],
)  # fmt: skip
def test_results_that_are_none_are_refused_by_file_and_part(tmp_path: Path, results: dict, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)) as refusal:
        build_report([probe(tmp_path / "foreign", "heads", results)], tmp_path / "page.html")
    assert "foreign" in str(refusal.value)


def test_inks_can_be_read_on_their_grounds_by_day_and_by_night(page: Page) -> None:
    style = page.source.split("<style>")[1].split("</style>")[0]
    day, night = (dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in style.split("@media", 1))
    for scheme in (day, day | night):
        for ground in ("paper", "card"):
            for ink in ("text", "quiet", "accent", "right", "wrong"):
                assert contrast(scheme[ground], scheme[ink]) >= 4.5, (ground, ink)
        marks = [name for name in scheme if name.startswith(("series", "quadrant", "seal")) and name[-1] != "d"]
        for name in ("base", *marks):
            assert contrast(scheme["paper"], scheme[name]) >= 3, name


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours (WCAG 2)."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return sum(w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for w, c in
                   zip((0.2126, 0.7152, 0.0722), parts, strict=True))  # fmt: skip

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
