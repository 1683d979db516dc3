# SPDX-License-Identifier: Apache-2.0
"""`seal probe KIND`: measuring heads and channels without changing the model, a subcommand a probe."""

from __future__ import annotations

import typer

from .app import app

probe = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure what each attention head or channel does for a task; the model stays as it is.",
)
app.add_typer(probe, name="probe")
