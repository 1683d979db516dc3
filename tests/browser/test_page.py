# SPDX-License-Identifier: Apache-2.0
"""The report's page as Chromium shows it: drawn, silent, offline, readable by day, by night and on a phone."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

sys.path.append(str(Path(__file__).parents[1] / "report"))

import several
from fabricated import evaluation, prediction, tuning, write, write_lines
from opening import OPEN_ALL, PAINTED, PLACES, SQUARE, TOP, UNDRAWN_NEARBY, WIDEST, Opened, soon
from opening import opened as opening

from seal_attention.report import build_report
from seal_attention.tasks import GROUPS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.browser

ATTACK = "</script><script>window.hit = 1</script><img src=http://127.0.0.1:9/x onerror='window.hit = 2'>"
GROUNDS_AND_INKS = """() => [...document.querySelectorAll(".plot.depths")].flatMap(place => {
    return [...place.querySelectorAll(".heatmap-label text")].map(label => {
        const value = Number(label.textContent) / 100;
        const stops = place._fullData[0].colorscale.map(stop => stop[1].match(/\\w\\w/g).map(c => parseInt(c, 16)));
        const at = Math.min(3, Math.floor(value * 4)), part = value * 4 - at;
        const ground = stops[at].map((c, i) => Math.round(c + part * (stops[at + 1][i] - c)));
        return [ground, getComputedStyle(label).fill.match(/\\d+/g).slice(0, 3).map(Number)];
    });
})"""
END_OF_THE_SCALE = "() => getComputedStyle(document.documentElement).getPropertyValue('--score-4').trim()"
ENDS_IN_MAPS = """() => [...new Set(
    [...document.querySelectorAll(".plot.depths")].map(place => place._fullData[0].colorscale[4][1])
)].join()"""
KEEP = "() => document.querySelectorAll('details').forEach(details => details.first = details.open)"
AS_FIRST = "() => document.querySelectorAll('details').forEach(details => details.open = details.first)"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of 5,000 answers: a benchmark by length, needles at depths, data sets, line retrieval in tokens and in
    lines, two tuning runs, and an evaluation whose every text is an attack.
    """
    folder = tmp_path_factory.mktemp("runs")
    runs = []
    with patch.dict(GROUPS, several.GROUPS, clear=True):
        for method in ("base", "seal-h", "seal-c"):
            runs += [
                several.ruler(folder / f"ruler-{method}", method, questions=48),
                several.needle(folder / f"needle-{method}", method, questions=30),
                several.longbench(folder / f"longbench-{method}", method, questions=20),
                several.lines_by_tokens(folder / f"tokens-{method}", method),
            ]
        runs += [evaluation(folder / f"lines-{method}", method, questions=8) for method in ("base", "seal-c")]
        runs += [tuning(folder / f"tune-{method}", method) for method in ("seal-h", "seal-c")]
        write(folder / "attack", "eval", {"model": f"m{ATTACK}", "method": ATTACK}, None)
        answer = prediction(40, 0, "base", right=False, text=ATTACK, asked=ATTACK, answers=(ATTACK,), question=ATTACK)
        write_lines(folder / "attack" / "predictions.jsonl", [answer.record()])
        page = build_report([*runs, folder / "attack"], folder / "page.html", title=f"Report {ATTACK}")
    return page.as_uri()


@pytest.fixture(scope="module")
def page_of_all(browser: Any, address: str) -> Iterator[Opened]:
    """The page, opened once and printed before it was read."""
    with opening(browser, address) as opened:
        page = opened[0]
        page.evaluate(KEEP)
        assert not all(drawn for _, _, drawn in page.evaluate(PLACES))
        page.pdf()
        yield opened


@pytest.fixture
def opened(page_of_all: Opened) -> Opened:
    """The page as when just printed, with all that the console said and which addresses were asked for."""
    page = page_of_all[0]
    page.set_viewport_size({"width": 1100, "height": 800})
    page.emulate_media(color_scheme="light")
    page.mouse.move(0, 0)
    page.evaluate(AS_FIRST)
    page.evaluate(TOP)
    assert soon(page, UNDRAWN_NEARBY, 0)
    return page_of_all


def test_page_is_drawn_without_a_word_in_the_console_or_a_request(opened: Any, address: str) -> None:
    page, said, asked = opened
    page.evaluate(OPEN_ALL)
    page.evaluate(PAINTED)
    assert (said, asked) == ([], [address])


def test_printing_draws_every_figure_with_its_lines_or_squares(opened: Any) -> None:
    page, _, _ = opened
    drawn = page.eval_on_selector_all(
        ".plot", "places => places.map(p => p.querySelectorAll('.js-line, .hm image').length)"
    )
    # RULER's average, three maps and a curve of needles, a curve of lines in tokens and one in lines, losses, two maps
    # of heads; the attack has a single size and thus no curve.
    assert len(drawn) == 10
    assert all(drawn)


def test_nothing_that_a_file_holds_runs(opened: Any) -> None:
    page, _, _ = opened
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
    assert ATTACK in page.inner_text("h1 + p, .title")


def test_hover_over_the_map_tells_layer_head_and_scale(opened: Any) -> None:
    page, _, _ = opened
    loudest = page.locator(".plot.map").first
    loudest.scroll_into_view_if_needed()
    page.mouse.move(*loudest.evaluate(SQUARE, [3, 5]))
    page.wait_for_selector(".hoverlayer .hovertext")
    assert loudest.locator(".hoverlayer").text_content() == "layer 3, head 5: scale 1.83"


def test_page_is_never_wider_than_its_window(opened: Any) -> None:
    page, _, _ = opened
    page.evaluate(OPEN_ALL)
    for width in (1100, 600, 390, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert soon(page, WIDEST, width)  # plotly lays out anew
        sizes = page.eval_on_selector_all(".plot .nsewdrag", "p => p.map(p => p.getBoundingClientRect().height)")
        assert min(sizes) > 120  # no legend has eaten its figure


def test_figures_follow_from_day_to_night(opened: Any) -> None:
    page, said, _ = opened
    legend, body = page.locator(".legendtext").first, page.locator("body")
    legend.scroll_into_view_if_needed()
    by_day = body.evaluate("body => getComputedStyle(body).color")
    playwright.expect(legend).to_have_css("fill", by_day)
    page.emulate_media(color_scheme="dark")
    by_night = body.evaluate("body => getComputedStyle(body).color")
    assert by_night != by_day
    playwright.expect(legend).to_have_css("fill", by_night)
    assert said == []


def test_paper_has_the_colours_of_the_day_by_night_too(opened: Any) -> None:
    page, _, _ = opened
    legend, body = page.locator(".legendtext").first, page.locator("body")
    ink = "element => getComputedStyle(element).color"
    by_day = body.evaluate(ink)
    page.emulate_media(color_scheme="dark")
    by_night = body.evaluate(ink)
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert body.evaluate(ink) == by_day
    assert legend.evaluate("text => getComputedStyle(text).fill") == by_day  # at once, wherever the figure is
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    assert body.evaluate(ink) == by_night
    legend.scroll_into_view_if_needed()
    playwright.expect(legend).to_have_css("fill", by_night)


def test_answers_open_by_keyboard(opened: Any) -> None:
    page, _, _ = opened
    drawer = page.locator("#answers > details:has(> .question)").first
    assert not drawer.locator(".mark").first.is_visible()
    drawer.locator("summary").focus()
    page.keyboard.press("Enter")
    assert drawer.get_attribute("open") is not None
    assert drawer.locator(".mark").first.is_visible()


# ---- maps by depth and wide tables


def test_squares_show_their_values_and_tell_n_and_interval(opened: Any) -> None:
    page, _, _ = opened
    first = page.locator(".plot.depths").first
    labels = first.locator(".heatmap-label").all_text_contents()
    assert len(labels) == len(several.LENGTHS) * len(several.DEPTHS)
    first.scroll_into_view_if_needed()
    page.mouse.move(*first.evaluate(SQUARE, [3, 2]))
    page.wait_for_selector(".hoverlayer .hovertext")
    told = first.locator(".hoverlayer").text_content()
    assert told.startswith("base, depth 50\u00a0%, 8k tokens")
    assert "n\u00a0=\u00a030" in told


def test_values_in_squares_can_be_read_by_day_and_by_night(opened: Any) -> None:
    page, _, _ = opened
    for scheme in ("light", "dark"):
        page.evaluate(TOP)
        page.emulate_media(color_scheme=scheme)
        page.locator(".plot.depths").last.scroll_into_view_if_needed()
        assert soon(page, ENDS_IN_MAPS, page.evaluate(END_OF_THE_SCALE))
        for ground, ink in page.evaluate(GROUNDS_AND_INKS):
            assert contrast(ground, ink) > 2.9, (scheme, ground, ink)


def test_all_maps_are_drawn_in_the_colours_of_the_one_scale(opened: Any) -> None:
    page, _, _ = opened
    scale = page.locator(".scale").evaluate("scale => getComputedStyle(scale).backgroundImage")
    stops = re.findall(r"rgb\((\d+), (\d+), (\d+)\)", scale)
    page.locator(".plot.depths").last.scroll_into_view_if_needed()
    assert soon(page, ENDS_IN_MAPS, page.evaluate(END_OF_THE_SCALE))
    used = page.eval_on_selector_all(".plot.depths", "p => p.map(p => p._fullData[0].colorscale.map(stop => stop[1]))")
    assert len(used) == 3
    for colours in used:
        assert [tuple(str(int(c[i : i + 2], 16)) for i in (1, 3, 5)) for c in colours] == stops


def test_wide_tables_scroll_by_keyboard_and_keep_their_first_column(opened: Any) -> None:
    page, _, _ = opened
    page.set_viewport_size({"width": 390, "height": 800})
    box = page.locator("#scores .scroll", has=page.locator("table.tinted")).first
    box.focus()
    name = box.locator("tbody th").first
    before = name.bounding_box()["x"]
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert soon(page, "() => [...document.querySelectorAll('#scores .scroll')].some(box => box.scrollLeft > 20)", True)
    assert name.bounding_box()["x"] == pytest.approx(before, abs=1)


def contrast(first: tuple[int, int, int], second: tuple[int, int, int]) -> float:
    """The contrast ratio of two colours (WCAG 2)."""

    def luminance(colour: tuple[int, int, int]) -> float:
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
