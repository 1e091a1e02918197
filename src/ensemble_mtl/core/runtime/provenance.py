"""What a result was computed with, and on what."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import torch

from ensemble_mtl.core.version import __version__


def versions() -> dict[str, str]:
    """Versions of what computes a result."""
    return {
        "ensemble_mtl": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def device_name(device: torch.device) -> str:
    """What a wall-clock was measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_model()}, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''}"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
