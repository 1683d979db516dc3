# SPDX-License-Identifier: Apache-2.0
"""What a launcher of several processes says in the environment -> which of them this is."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Process:
    """Which of several processes this is, as a launcher (accelerate, torchrun) says in the environment."""

    rank: int
    local: int
    count: int

    @contextlib.contextmanager
    def in_turn(self, cpu: bool) -> Iterator[None]:
        """The first process goes first, the others after it; a process on its own goes at once."""
        if self.count == 1:
            yield
            return
        from accelerate import PartialState

        with PartialState(cpu=cpu).main_process_first():
            yield

    def leave(self) -> None:
        """Close what ties this process to the others: left open, a thread of it can abort the interpreter's end."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()


_said = os.environ.get
PROCESS = Process(int(_said("RANK", 0)), int(_said("LOCAL_RANK", 0)), int(_said("WORLD_SIZE", 1)))
