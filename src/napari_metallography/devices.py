"""Where the computation runs."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psutil
import torch

from .errors import DeviceError, InputError

# Names of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
"""Arithmetic of a training, in Lightning's words."""

OUT_OF_MEMORY = "the device ran out of memory; close other programs, or use --device cpu"


def choose_device(name: str) -> torch.device:
    """The device for "auto", "cpu" or "cuda".

    Raises
    ------
    InputError
        When the name is unknown, or "cuda" is asked for where there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown device '{name}'; choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device is available here; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def precisions(device: torch.device) -> list[Precision]:
    """What pays on the device, the best first."""
    if device.type == "cuda":
        half: Precision = "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
        return [half, "32-true"]
    return ["bf16-mixed", "32-true"] if _has_bfloat16() else ["32-true"]


def _has_bfloat16() -> bool:
    """Whether the processor computes in bfloat16; elsewhere torch imitates it, slowly."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def free_memory(device: torch.device) -> int:
    """Bytes of memory free on the device now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def keep_freed_memory() -> None:
    """Let a network's layers reuse each other's memory on the CPU.

    glibc hands large freed blocks back to the system at once, and fetching them again for the
    next layer takes longer than many a convolution. Does nothing where there is no glibc.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def return_freed_memory() -> None:
    """Give the memory kept by `keep_freed_memory` back to the system."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on either kind of device."""
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    )


@contextmanager
def device_errors() -> Iterator[None]:
    """Turn a device's failure into `DeviceError`, which reaches the user everywhere."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise DeviceError(OUT_OF_MEMORY) from error
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DeviceError(f"the computation failed on the device: {first_line}") from error
