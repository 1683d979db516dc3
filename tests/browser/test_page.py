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
from opening import CHROMIUM, OPEN_ALL, SQUARE, UNDRAWN, WIDEST, Opened, chromium, soon
from opening import opened as opening

from seal_attention.report import build_report
from seal_attention.tasks import GROUPS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]

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
GROUND_OF_A_MAP = "() => [...document.querySelectorAll('.plot.depths')].at(-1)._fullData[0].colorscale[4][1]"
KEEP = "() => document.querySelectorAll('details').forEach(details => details.first = details.open)"
AS_FIRST = "() => document.querySelectorAll('details').forEach(details => details.open = details.first)"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of two evaluations, two tuning runs, and an evaluation whose every text is an attack."""
    folder = tmp_path_factory.mktemp("runs")
    runs = [evaluation(folder / method, method, questions=8) for method in ("base", "seal-c")]
    runs += [tuning(folder / f"tune-{method}", method) for method in ("seal-h", "seal-c")]
    write(folder / "attack", "eval", {"model": f"m{ATTACK}", "method": ATTACK}, None)
    answer = prediction(40, 0, "base", right=False, text=ATTACK, asked=ATTACK, answers=(ATTACK,), question=ATTACK)
    write_lines(folder / "attack" / "predictions.jsonl", [answer.record()])
    return build_report([*runs, folder / "attack"], folder / "page.html", title=f"Report {ATTACK}").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def full_address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page of 5,000 answers: a benchmark by length, needles at depths, data sets, line retrieval in tokens."""
    folder = tmp_path_factory.mktemp("full")
    runs = []
    with patch.dict(GROUPS, several.GROUPS, clear=True):
        for method in ("base", "seal-h", "seal-c"):
            runs += [
                several.ruler(folder / f"ruler-{method}", method, questions=48),
                several.needle(folder / f"needle-{method}", method, questions=30),
                several.longbench(folder / f"longbench-{method}", method, questions=20),
                several.lines_by_tokens(folder / f"lines-{method}", method),
            ]
        return build_report(runs, folder / "page.html").as_uri()


@pytest.fixture(scope="module")
def page_of_all(browser: Any, address: str) -> Iterator[Opened]:
    """The first page, opened once."""
    with opening(browser, address) as opened:
        opened[0].evaluate(KEEP)
        yield opened


@pytest.fixture(scope="module")
def full_page_of_all(browser: Any, full_address: str) -> Iterator[Opened]:
    """The full page, opened once."""
    with opening(browser, full_address) as opened:
        opened[0].evaluate(KEEP)
        yield opened


@pytest.fixture
def opened(page_of_all: Opened) -> Opened:
    """The first page as when just drawn, with all that the console said and which addresses were asked for."""
    return as_new(page_of_all)


@pytest.fixture
def full(full_page_of_all: Opened) -> Opened:
    """The full page, as `opened`."""
    return as_new(full_page_of_all)


def as_new(opened: Opened) -> Opened:
    page, _, _ = opened
    page.set_viewport_size({"width": 1100, "height": 800})
    page.emulate_media(color_scheme="light")
    page.mouse.move(0, 0)
    page.evaluate(AS_FIRST)
    assert soon(page, UNDRAWN, 0)
    return opened


def test_page_is_drawn_without_a_word_in_the_console_or_a_request(opened: Any, address: str) -> None:
    page, said, asked = opened
    page.evaluate(OPEN_ALL)
    page.wait_for_timeout(200)
    assert said == []
    assert asked == [address]


def test_every_figure_is_drawn_with_its_lines_or_squares(opened: Any) -> None:
    page, _, _ = opened
    drawn = page.eval_on_selector_all(
        ".plot", "places => places.map(p => p.querySelectorAll('.js-line, .hm image').length)"
    )
    assert len(drawn) == 4  # accuracy, losses, two maps; the attack has a single size and thus no curve
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


def test_figures_follow_from_day_to_night(opened: Any) -> None:
    page, said, _ = opened
    legend, body = page.locator(".legendtext").first, page.locator("body")
    by_day = body.evaluate("body => getComputedStyle(body).color")
    playwright.expect(legend).to_have_css("fill", by_day)
    page.emulate_media(color_scheme="dark")
    by_night = body.evaluate("body => getComputedStyle(body).color")
    assert by_night != by_day
    playwright.expect(legend).to_have_css("fill", by_night)
    assert said == []


def test_answers_open_by_keyboard(opened: Any) -> None:
    page, _, _ = opened
    page.locator("#answers summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#answers details").first.get_attribute("open") is not None
    assert page.locator("#answers .mark").first.is_visible()


# ---- several tasks on a page


def test_full_page_is_drawn_without_a_word_or_a_request(full: Any, full_address: str) -> None:
    page, said, asked = full
    page.evaluate(OPEN_ALL)
    page.wait_for_timeout(200)
    assert (said, asked) == ([], [full_address])
    drawn = page.eval_on_selector_all(".plot", "p => p.map(p => p.querySelectorAll('.js-line, .hm image').length)")
    assert len(drawn) == 6  # RULER's average, three maps and a curve of needles, a curve of lines
    assert all(drawn)


def test_squares_show_their_values_and_tell_n_and_interval(full: Any) -> None:
    page, _, _ = full
    first = page.locator(".plot.depths").first
    labels = first.locator(".heatmap-label").all_text_contents()
    assert len(labels) == len(several.LENGTHS) * len(several.DEPTHS)
    first.scroll_into_view_if_needed()
    page.mouse.move(*first.evaluate(SQUARE, [3, 2]))
    page.wait_for_selector(".hoverlayer .hovertext")
    told = first.locator(".hoverlayer").text_content()
    assert told.startswith("base, depth 50\u00a0%, 8k tokens")
    assert "n\u00a0=\u00a030" in told


def test_values_in_squares_can_be_read_by_day_and_by_night(full: Any) -> None:
    page, _, _ = full
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert soon(page, GROUND_OF_A_MAP, page.evaluate(END_OF_THE_SCALE))
        for ground, ink in page.evaluate(GROUNDS_AND_INKS):
            assert contrast(ground, ink) > 2.9, (scheme, ground, ink)


def test_all_maps_are_drawn_in_the_colours_of_the_one_scale(full: Any) -> None:
    page, _, _ = full
    scale = page.locator(".scale").evaluate("scale => getComputedStyle(scale).backgroundImage")
    stops = re.findall(r"rgb\((\d+), (\d+), (\d+)\)", scale)
    used = page.eval_on_selector_all(".plot.depths", "p => p.map(p => p._fullData[0].colorscale.map(stop => stop[1]))")
    assert len(used) == 3
    for colours in used:
        assert [tuple(str(int(c[i : i + 2], 16)) for i in (1, 3, 5)) for c in colours] == stops


def test_full_page_is_never_wider_than_its_window(full: Any) -> None:
    page, _, _ = full
    page.evaluate(OPEN_ALL)
    for width in (1100, 600, 390, 360):
        page.set_viewport_size({"width": width, "height": 800})
        assert soon(page, WIDEST, width)  # plotly lays out anew
        sizes = page.eval_on_selector_all(".plot .nsewdrag", "p => p.map(p => p.getBoundingClientRect().height)")
        assert min(sizes) > 120  # no legend has eaten its figure


def test_wide_tables_scroll_by_keyboard_and_keep_their_first_column(full: Any) -> None:
    page, _, _ = full
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
