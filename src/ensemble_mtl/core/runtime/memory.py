"""The memory of a training process: what is done with what it frees, and whether it ran out of it."""

from __future__ import annotations

import ctypes
import os
from functools import cache

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of glibc's mallopt(3), from its malloc.h."""


@cache
def keep_freed() -> None:
    """Let the process keep the memory that it frees, for its next allocation.

    A training step frees some megabytes of intermediate values per member, and the next one takes them again. Had they
    gone back to the system meanwhile, mapping them anew could take longer than to compute them. Nothing changes
    where the C library is not glibc, or where a ``MALLOC_`` variable of the environment says what is wanted.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_MMAP_MAX, 0)


_MESSAGES = ("DefaultCPUAllocator", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""In the RuntimeErrors of torch that are about memory; its own OutOfMemoryError is one of them."""


def is_shortage(error: BaseException) -> bool:
    """Whether the error says that there is not enough memory, on this machine or on its GPU."""
    if isinstance(error, RuntimeError):
        return any(message in str(error) for message in _MESSAGES)
    return isinstance(error, MemoryError)
