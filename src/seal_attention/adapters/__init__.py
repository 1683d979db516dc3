# SPDX-License-Identifier: Apache-2.0
"""The four methods, and the folders that hold what they learnt."""

from .folders import CONFIG_FILE, SEAL_FILE, WEIGHTS_FILE, describe, digest, load, save, tuned_elsewhere
from .methods import LORA_RANK, METHODS, PEFT_PREFIX, Adapter, LowRank, Scales, create, remove

__all__ = [
    "CONFIG_FILE",
    "LORA_RANK",
    "METHODS",
    "PEFT_PREFIX",
    "SEAL_FILE",
    "WEIGHTS_FILE",
    "Adapter",
    "LowRank",
    "Scales",
    "create",
    "describe",
    "digest",
    "load",
    "remove",
    "save",
    "tuned_elsewhere",
]
