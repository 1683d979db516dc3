# SPDX-License-Identifier: Apache-2.0
"""What is typed -> what a command leaves behind, without a new process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Result:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Seal = Callable[..., Result]


def commanding(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Seal:
    """Run a command in `place` as the shell would."""
    from seal_attention.__main__ import main

    def run(*arguments: Any) -> Result:
        monkeypatch.chdir(place)
        monkeypatch.setattr(sys, "argv", ["seal", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Result(code, *capsys.readouterr())

    return run
