# SPDX-License-Identifier: Apache-2.0
"""What was typed -> one stage called and its result printed. No logic of its own; heavy imports wait for a command."""

from . import evaluating, knowledge, listing, looking, needles, probing, tuning  # each registers its subcommands
from .app import app, complain

__all__ = ["app", "complain", "evaluating", "knowledge", "listing", "looking", "needles", "probing", "tuning"]
