# SPDX-License-Identifier: Apache-2.0
"""Claims about what a person sees while a job runs: whatever a note says, and no guess where nothing is known."""

from __future__ import annotations

import pytest
from rich.console import Console

from seal_attention import console


@pytest.mark.parametrize("terminal", [True, False])
def test_a_note_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    shown = Console(stderr=True, highlight=False, width=200, force_terminal=terminal, color_system=None)
    monkeypatch.setattr(console, "ERR", shown)
    monkeypatch.setattr(console, "PLAIN_SECONDS", 0)
    bars = console.Bars()
    with shown.capture() as capture:
        bars.begin("asking", 100)
        bars.advance(0, "attempt 1 of 5: [Errno 111] refused [/INST]")
        bars.advance(50, "1/2 right")
        bars.advance(50, "3 answers to write")
        bars.end()
    text = capture.get()
    if terminal:
        assert "3 answers to write" in text
    else:
        lines = text.splitlines()
        assert lines[1] == "asking: 0%, 0 s so far, attempt 1 of 5: [Errno 111] refused [/INST]"
        assert lines[2].startswith("asking: 50%, 0 s so far, 0 s left, 1/2 right")
        assert lines[3] == "asking: 100%, 0 s so far, 3 answers to write"
        assert lines[4].startswith("asking: done in")
