# SPDX-License-Identifier: Apache-2.0
"""A page's address -> the page in headless Chromium, with all that its console said and all that it asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from seal_attention.report.export import BROWSERS

CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
# Of every figure: how many windows' heights it is away, its height in pixels, and whether it is drawn.
PLACES = """() => [...document.querySelectorAll(".plot")].map(place => {
    const { top, bottom, height } = place.getBoundingClientRect(), away = Math.max(top - innerHeight, -bottom, 0);
    return [away / innerHeight, height, place.querySelector(".main-svg") !== null];
})"""
UNDRAWN_NEARBY = f"() => ({PLACES})().filter(([away, , drawn]) => away < 1 && !drawn).length"
PAINTED = "() => new Promise(painted => requestAnimationFrame(() => requestAnimationFrame(painted)))"
TOP = "() => scrollTo(0, 0)"
WINDOW = {
    "viewport": {"width": 1100, "height": 800},
    "color_scheme": "light",
    "reduced_motion": "reduce",  # no smooth scrolling to wait for
}
OPEN_ALL = "() => document.querySelectorAll('details').forEach(details => details.open = true)"
WIDEST = "() => document.documentElement.scrollWidth"
SQUARE = """(place, [column, row]) => {
    const box = place.querySelector(".nsewdrag").getBoundingClientRect();
    return [box.x + place._fullLayout.xaxis.c2p(column), box.y + place._fullLayout.yaxis.c2p(row)];
}"""
Opened = tuple[Any, list[str], list[str]]


@contextmanager
def opened(browser: Any, address: str) -> Iterator[Opened]:
    """The page with the figures near its top drawn."""
    page = browser.new_page(**WINDOW)
    page.set_default_timeout(120_000)  # on a machine that has other things to do
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    assert soon(page, UNDRAWN_NEARBY, 0)  # figures come one after the other
    yield page, said, asked
    page.close()


def read_through(page: Any) -> None:
    """Scroll from figure to figure, as a reader does, until each is drawn; then back to the top."""
    for place in page.query_selector_all(".plot"):
        place.evaluate("place => place.scrollIntoView({ block: 'center' })")
        assert soon(page, UNDRAWN_NEARBY, 0)
    page.evaluate(TOP)


def soon(page: Any, script: str, value: Any) -> bool:
    """Whether the script comes to give that value; the page's policy forbids Playwright's own way of waiting."""
    for _ in range(3000):
        if page.evaluate(script) == value:
            return True
        page.wait_for_timeout(20)
    return False
