# SPDX-License-Identifier: Apache-2.0
"""The report's page as Chromium shows it: drawn, silent, offline, readable by day, by night and on a phone."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "report"))

from fabricated import evaluation, prediction, tuning, write, write_lines

from seal_attention.report import build_report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]

ATTACK = "</script><script>window.hit = 1</script><img src=http://127.0.0.1:9/x onerror='window.hit = 2'>"
POINT_OF_LAYER_3_HEAD_5 = """place => {
    const box = place.querySelector(".nsewdrag").getBoundingClientRect();
    return [box.x + place._fullLayout.xaxis.d2p(3), box.y + place._fullLayout.yaxis.d2p(5)];
}"""


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
    with playwright.sync_playwright() as driver:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has none to offer to root
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[tuple[Any, list[str], list[str]]]:
    """The page after it was drawn, with what the console said and which addresses were asked for."""
    page = browser.new_page(viewport={"width": 1100, "height": 800}, color_scheme="light")
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page, said, asked
    page.close()


def test_page_is_drawn_without_a_word_in_the_console_or_a_request(opened: Any, address: str) -> None:
    page, said, asked = opened
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    page.wait_for_timeout(200)
    assert said == []
    assert asked == [address]


def test_every_figure_is_drawn_with_its_lines_or_squares(opened: Any) -> None:
    page, _, _ = opened
    drawn = page.eval_on_selector_all(
        ".plot", "places => places.map(p => p.querySelectorAll('.js-line, .hm image').length)"
    )
    assert len(drawn) == 5  # accuracy of two models, losses, two maps
    assert all(drawn)


def test_nothing_that_a_file_holds_runs(opened: Any) -> None:
    page, _, _ = opened
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0
    assert ATTACK in page.inner_text("h1 + p, .title")
    assert page.locator(".legendtext", has_text="<img").count() == 1


def test_hover_over_the_map_tells_layer_head_and_scale(opened: Any) -> None:
    page, _, _ = opened
    loudest = page.locator(".plot.map").first
    loudest.scroll_into_view_if_needed()
    page.mouse.move(*loudest.evaluate(POINT_OF_LAYER_3_HEAD_5))
    page.wait_for_selector(".hoverlayer .hovertext")
    assert loudest.locator(".hoverlayer").text_content() == "layer 3, head 5: scale 1.83"


def test_page_is_never_wider_than_its_window(opened: Any) -> None:
    page, _, _ = opened
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    for width in (1100, 600, 390, 360):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(200)  # plotly lays out anew
        assert page.evaluate("document.documentElement.scrollWidth") == width


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
