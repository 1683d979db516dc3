# SPDX-License-Identifier: Apache-2.0
"""A page's address -> the page in headless Chromium, with all that its console said and all that it asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
UNDRAWN = "() => [...document.querySelectorAll('.plot')].filter(place => !place.querySelector('.main-svg')).length"
OPEN_ALL = "() => document.querySelectorAll('details').forEach(details => details.open = true)"
WIDEST = "() => document.documentElement.scrollWidth"
SQUARE = """(place, [column, row]) => {
    const box = place.querySelector(".nsewdrag").getBoundingClientRect();
    return [box.x + place._fullLayout.xaxis.c2p(column), box.y + place._fullLayout.yaxis.c2p(row)];
}"""
Opened = tuple[Any, list[str], list[str]]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser, without the sandbox where the user is root: Chromium has none to offer to root."""
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, address: str) -> Iterator[Opened]:
    """The page with every figure drawn."""
    page = browser.new_page(viewport={"width": 1100, "height": 800}, color_scheme="light")
    page.set_default_timeout(120_000)  # on a machine that has other things to do
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    assert soon(page, UNDRAWN, 0)  # figures come one after the other
    yield page, said, asked
    page.close()


def soon(page: Any, script: str, value: Any) -> bool:
    """Whether the script comes to give that value; the page's policy forbids Playwright's own way of waiting."""
    for _ in range(600):
        if page.evaluate(script) == value:
            return True
        page.wait_for_timeout(100)
    return False
