"""Which GPU a process of a host takes. Torch is not loaded for that, so that it sees only this one afterwards."""

from __future__ import annotations

import importlib.metadata
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

VISIBLE = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
"""Variables that say which GPUs a process may use."""
DEV = Path("/dev")


def gpus_of_host() -> list[str]:
    """Numbers of the host's GPUs, NVIDIA's or AMD's, that bind a process to them; none for a CPU build of torch.

    They count from 0 whatever the device files are called: a container that has ``nvidia3`` only calls it 0.
    """
    if importlib.metadata.version("torch").endswith("+cpu"):
        return []
    devices = list(DEV.glob("nvidia[0-9]*"))
    if not devices and (DEV / "kfd").exists():  # AMD's compute driver
        devices = list(DEV.glob("dri/renderD*"))
    return [str(number) for number, _ in enumerate(devices)]


def usable(environment: Mapping[str, str], host: Sequence[str]) -> tuple[str, list[str]]:
    """The variable that binds a process to GPUs, and the GPUs that this process may use.

    Args:
        environment: may say already which GPUs are to be used.
        host: the host's GPUs, if it does not.
    """
    name = next((name for name in VISIBLE if name in environment), None)
    if name is None:
        return VISIBLE[0], list(host)
    named = [gpu.strip() for gpu in environment[name].split(",")]
    # as CUDA reads it: what stands behind one that is none does not count; Slurm names one so where it gave none
    return name, list(itertools.takewhile(lambda gpu: gpu and not gpu.startswith(("-", "NoDevFiles")), named))


def gpu_of(number: int, environment: Mapping[str, str], host: Sequence[str]) -> dict[str, str]:
    """The variable that binds a process to its GPU; empty if there is none.

    Args:
        number: the process's number on its host; several share a GPU if there are more of them than GPUs.
        environment: see :func:`usable`.
        host: see :func:`usable`.
    """
    name, gpus = usable(environment, host)
    return {name: gpus[number % len(gpus)]} if gpus else {}
