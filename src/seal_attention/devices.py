# SPDX-License-Identifier: Apache-2.0
"""What was typed as --dtype and --device -> torch's dtype and device."""

from __future__ import annotations

import torch

from .errors import UsageError
from .runs import PROCESS

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` -> bfloat16 where the device multiplies it natively, else float32; otherwise the dtype named."""
    if name != "auto":
        if name not in DTYPES:
            raise UsageError(f"unknown --dtype {name!r}; choose auto, {', '.join(DTYPES)}")
        return DTYPES[name]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    features = torch.cpu.get_capabilities()
    return torch.bfloat16 if features.get("avx512_bf16") or features.get("amx_bf16") else torch.float32


def pick_device(name: str) -> torch.device:
    """`auto` -> a CUDA device if there is one, each process of several its own, else the CPU; or the device named."""
    if name == "auto":
        return torch.device("cuda", PROCESS.local) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {name!r} can't be used here ({reason}); try --device cpu") from error
    return device
