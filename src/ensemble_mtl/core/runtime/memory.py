"""Whether a training process ran out of memory."""

from __future__ import annotations

_MESSAGES = ("DefaultCPUAllocator", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""In the RuntimeErrors of torch that are about memory; its own OutOfMemoryError is one of them."""


def is_shortage(error: BaseException) -> bool:
    """Whether the error says that there is not enough memory, on this machine or on its GPU."""
    if isinstance(error, RuntimeError):
        return any(message in str(error) for message in _MESSAGES)
    return isinstance(error, MemoryError)
