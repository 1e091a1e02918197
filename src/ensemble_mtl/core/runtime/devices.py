"""What a GPU tells of itself; a CPU needs no such questions."""

from __future__ import annotations

import torch


def finish(device: torch.device) -> None:
    """Wait until the device has done what it was given, as a clock must that is read here."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def free_bytes(device: torch.device) -> int:
    """Memory of a GPU that this process may still take, what torch keeps for the next use included."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free: int = torch.cuda.mem_get_info(device)[0]
    return free + kept
