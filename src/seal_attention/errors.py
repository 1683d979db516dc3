# SPDX-License-Identifier: Apache-2.0
"""What went wrong -> one sentence for the person who typed the command, and an exit code."""

from __future__ import annotations


class SealError(Exception):
    """A failure told in one sentence: what was wrong, the value seen, what is allowed, what to type next.

    The command line prints the sentence and exits with `exit_code` (1: the work failed).
    """

    exit_code = 1


class UsageError(SealError):
    """The request itself cannot be carried out as typed (exit code 2)."""

    exit_code = 2
