# SPDX-License-Identifier: Apache-2.0
"""What was typed as --dtype and --device -> torch's dtype and device; and the memory that is taken there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

import psutil
import torch

from .errors import UsageError
from .processes import PROCESS

STATUS = Path("/proc/self/status")
KERNEL_SHAPES = 256  # of products, whose kernels are kept on a CPU, .3 MB each (docs/memory.md)
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


def peak_memory(device: torch.device) -> int:
    """The most bytes that this process has held on the device: a GPU's tensors, or on a CPU all that is resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if STATUS.exists():  # Linux' own count: getrusage's begins with the parent's
        (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def return_freed_memory() -> None:
    """Hand what was freed back to the system, where glibc's heap keeps it: holes that nothing of their size fits into.

    Without it they raise the peak of a tuning step by a fifth (docs/memory.md).
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library, or none to ask
        ctypes.CDLL(None).malloc_trim(0)


def bound_kernel_caches() -> None:
    """Let oneDNN keep the kernels of the last KERNEL_SHAPES products, not of 1,024, and PyTorch's wrapper one.

    Each new number of tokens brings some forty kernels, reused by all layers and hardly ever again: memory grows with
    each step of tuning until the caches are full. All layers share the shapes of blocks of attention too, of which 4k
    tokens have a hundred: with fewer kept than that, each layer makes them anew. The wrapper's cache keeps all of them
    a second time and saves a product 2 to 4 microseconds (docs/memory.md). Both read their variable at the process's
    first product; what the environment says already stays.
    """
    for variable, kept in (("ONEDNN_PRIMITIVE_CACHE_CAPACITY", KERNEL_SHAPES), ("LRU_CACHE_CAPACITY", 1)):
        os.environ.setdefault(variable, str(kept))
