# SPDX-License-Identifier: Apache-2.0
"""`seal report --figures`: every figure of the page as PNG and SVG, and a sentence where what draws them is missing."""

from __future__ import annotations

import struct
import sys
import xml.etree.ElementTree as XML
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "report"))

import several
from fabricated import tuning

from seal_attention.__main__ import main
from seal_attention.errors import UsageError
from seal_attention.report import export, export_figures
from seal_attention.report.export import SHARPNESS, WIDTH, file_name

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.browser
def test_every_figure_is_written_as_png_and_svg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: Any) -> None:
    monkeypatch.setattr(export, "chromium", lambda: nullcontext(browser))  # it was started by the real one
    needle = several.needle(tmp_path / "needle", "base", lengths=[1024], questions=2)
    runs = [str(needle), str(tuning(tmp_path / "tune", "seal-h", steps=2, shape=(4, 6)))]
    out, figures = str(tmp_path / "page.html"), tmp_path / "figures"
    monkeypatch.setattr(sys, "argv", ["seal", "report", *runs, "--out", out, "--figures", str(figures)])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert sorted(path.name for path in figures.iterdir()) == [
        f"{name}.{ending}"
        for name in (
            "01-score-of-base-by-depth-and-size",
            "02-loss-while-tuning",
            "03-learnt-scales-of-seal-h",
        )
        for ending in ("png", "svg")
    ]
    for path in figures.glob("*.png"):
        image = path.read_bytes()
        assert image.startswith(b"\x89PNG")
        assert struct.unpack(">I", image[16:20])[0] == WIDTH * SHARPNESS
    for path in figures.glob("*.svg"):
        drawing = XML.parse(path).getroot()
        assert (drawing.tag, drawing.get("width")) == (f"{SVG}svg", str(WIDTH))
        maps = drawing.findall(f".//{SVG}image")
        bars = [group for group in drawing.iter(f"{SVG}g") if "colorbar" in group.get("class", "")]
        assert bool(maps) == bool(bars)  # alone in a paper a map needs the scale that the page has once for all


def test_names_of_files_are_plain_whatever_the_figure_is_called() -> None:
    assert file_name("Scores of <b>../../etc</b>, \u00e9t\u00e9") == "scores-of-b-etc-b-t"
    assert file_name("\u00fc") == "figure"
    assert len(file_name("a b " * 100)) <= 80


def test_missing_playwright_is_told_with_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "playwright", None)
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(UsageError, match=r"pip install 'seal-attention\[figures\]'"):
        export_figures(tmp_path / "page.html", tmp_path / "figures")
    assert not (tmp_path / "figures").exists()
