# SPDX-License-Identifier: Apache-2.0
"""Tests of the command line -> `seal`, which runs a command in the module's own `place`."""

from __future__ import annotations

from pathlib import Path

import pytest

from commanding import Seal, commanding


@pytest.fixture
def seal(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Seal:
    """Run a command in `place` as the shell would, without a new process."""
    return commanding(place, monkeypatch, capsys)
