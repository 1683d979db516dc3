# SPDX-License-Identifier: Apache-2.0
"""What was typed -> one stage called and its result printed. No logic of its own; heavy imports wait for a command."""

# Each registers its subcommands, in whose order `seal --help` lists them.
# isort: off
from . import demo
from . import tuning
from . import planning
from . import evaluating
from . import looking
from . import listing
from . import needles
from . import knowledge
from . import probing_ablation
from . import probing_quadrants
from . import probing_effects
from . import probing_agreement

# isort: on
from .app import app, complain

__all__ = [
    "app",
    "complain",
    "demo",
    "evaluating",
    "knowledge",
    "listing",
    "looking",
    "needles",
    "planning",
    "probing_ablation",
    "probing_agreement",
    "probing_effects",
    "probing_quadrants",
    "tuning",
]
