# SPDX-License-Identifier: Apache-2.0
"""What was typed -> one stage called and its result printed. No logic of its own; heavy imports wait for a command."""

# Each registers its subcommands.
from . import (
    evaluating,
    knowledge,
    listing,
    looking,
    needles,
    probing_ablation,
    probing_effects,
    probing_quadrants,
    tuning,
)
from .app import app, complain

__all__ = [
    "app",
    "complain",
    "evaluating",
    "knowledge",
    "listing",
    "looking",
    "needles",
    "probing_ablation",
    "probing_effects",
    "probing_quadrants",
    "tuning",
]
