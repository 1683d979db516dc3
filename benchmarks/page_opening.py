# SPDX-License-Identifier: Apache-2.0
"""A page of `seal report` -> how long headless Chromium takes until what is near its window is drawn and shown.

python -m pytest -q tests/report/test_probes.py -k thousand --basetemp=/tmp/pages  # writes a page of 5,004 answers
python benchmarks/page_opening.py /tmp/pages/large0/page.html

A new browser each time, a window of 1,100 x 800 pixels. Playwright's debugger is attached, which adds some half a
second (docs/log.md), so a reader waits less than this.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

from seal_attention.report.export import chromium

SHOWN = """() => new Promise((done) => {
  const near = (place) => {
    const { top, bottom } = place.getBoundingClientRect();
    return top < 2 * innerHeight && bottom > -innerHeight;
  };
  const look = () => {
    const waiting = [...document.querySelectorAll(".plot")].some((p) => near(p) && !p.querySelector(".main-svg"));
    requestAnimationFrame(waiting ? look : () => requestAnimationFrame(done));
  };
  look();
})"""


def seconds_to_open(address: str) -> float:
    """From asking for the page until the frame that shows every figure within a window's height."""
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 800}, offline=True)
        started = time.perf_counter()
        page.goto(address)
        page.evaluate(SHOWN)
        return time.perf_counter() - started


def main() -> None:
    """Open it several times and print the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    address = arguments.page.resolve().as_uri()
    taken = [seconds_to_open(address) for _ in range(arguments.repeats)]
    size = arguments.page.stat().st_size
    print(f"{statistics.median(taken):.2f} s ({min(taken):.2f} to {max(taken):.2f}, n = {len(taken)}), {size:,} bytes")


if __name__ == "__main__":
    main()
