# SPDX-License-Identifier: Apache-2.0
"""A report's page -> every figure of it as PNG and SVG, drawn by the page's own plotly.js in a headless Chromium.

So a figure in a paper is the one on the page, by day, with the colour bar that maps share on the page. Needs the extra
`figures` (Playwright) and a Chromium, both only here.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from ..errors import UsageError

WIDTH = 720  # CSS pixels, 7.5 inches: a whole column's width and more
SHARPNESS = 3  # PNG pixels a CSS pixel: 288 dpi at that width
WINDOW = {"width": 800, "height": 800}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LONGEST_NAME = 80
PRINTED = "() => dispatchEvent(new Event('beforeprint'))"
DRAWN = """async (place, [width, scale]) => {
  const data = place.data.map((trace) => trace.type === "heatmap" ? { ...trace, showscale: true } : trace);
  const layout = { ...place.layout, width, height: place.clientHeight, autosize: false, paper_bgcolor: "white" };
  const images = [];
  for (const format of ["png", "svg"]) {
    const size = { format, width, height: layout.height, scale: format === "png" ? scale : 1 };
    images.push(await Plotly.toImage({ data, layout }, size));
  }
  return [place.dataset.name, ...images];
}"""


def export_figures(page: Path, folder: Path) -> list[Path]:
    """Write every figure of `page` to `folder`, numbered and named after what it shows; returns the files.

    UsageError where Playwright or a Chromium is missing.
    """
    written = []
    with chromium() as browser:
        folder.mkdir(parents=True, exist_ok=True)
        window = browser.new_page(viewport=WINDOW, color_scheme="light", offline=True)
        window.goto(page.resolve().as_uri())
        window.evaluate(PRINTED)  # or only those near the window would be drawn
        for number, place in enumerate(window.query_selector_all(".plot"), start=1):
            name, png, svg = place.evaluate(DRAWN, [WIDTH, SHARPNESS])
            for ending, image in ("png", png), ("svg", svg):
                path = folder / f"{number:02d}-{file_name(name)}.{ending}"
                path.write_bytes(_decoded(image))
                written.append(path)
    return written


def file_name(name: str) -> str:
    """A figure's name as that of a file on any system: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())[:LONGEST_NAME].strip("-") or "figure"


def _decoded(image: str) -> bytes:
    """The bytes of a data address: base64 of a PNG, the text of an SVG with its signs escaped."""
    kind, _, data = image.partition(",")
    return base64.b64decode(data) if kind.endswith("base64") else unquote_to_bytes(data)


@contextmanager
def chromium() -> Iterator[Any]:
    """The system's Chromium, or else Playwright's own."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise UsageError(
            "--figures draws with Playwright, which is not installed; type `pip install 'seal-attention[figures]'`"
        ) from error
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # it has none to offer to root
    with sync_playwright() as driver:
        try:
            chromium = driver.chromium.launch(executable_path=found, args=sandbox)
        except Error as error:
            raise UsageError(
                "--figures found no Chromium that starts; install one, or type `playwright install chromium`"
            ) from error
        try:
            yield chromium
        finally:
            chromium.close()
