"""Which process a number means, on a host where numbers are used again."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path


def machine() -> str:
    """Names what process numbers mean: this boot of this host, and the space of process numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return f"{socket.gethostname()} {uuid.getnode()}"


def is_dead(pid: int, started: str) -> bool:
    """Whether the process of this host that had the number ``pid`` and began at ``started`` has ended for sure.

    Numbers are used again, and an ended process that nobody has waited for still has one; of
    other users' processes a host may tell nothing.
    """
    try:
        state, began = _stat(pid)
        return state in "ZX" or began != started
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has ended, or this user is not to know of it
    except OSError:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def process_started(pid: int) -> str | None:
    """When the process began, in the kernel's ticks; None if it has ended, or cannot be seen."""
    try:
        state, began = _stat(pid)
    except OSError:
        return None
    return None if state in "ZX" else began


def wait_for_end(processes: Mapping[int, str | None], seconds: float) -> None:
    """Wait until these have ended, children of others too, but no longer than ``seconds``.

    Args:
        processes: number -> when it began, as :func:`process_started` tells.
        seconds: a process that waits for a disk may not end for long, even when it was killed.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(begun and process_started(pid) == begun for pid, begun in processes.items()):
            return
        time.sleep(0.02)


def _stat(pid: int) -> tuple[str, str]:
    """State and start time of the process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], fields[19]
