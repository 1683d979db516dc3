# SPDX-License-Identifier: Apache-2.0
"""The report's own way of starting Chromium -> one browser for all tests of a module.

Not of a process: while Playwright runs, no other test could start an event loop of its own there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opening import CHROMIUM

from seal_attention.report.export import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine")
    with chromium() as started:
        yield started
