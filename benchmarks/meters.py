"""CPU time and peak memory of what a benchmark runs."""

from __future__ import annotations

import ctypes
import gc
import os
import statistics
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Clock:
    """CPU seconds, by what they were spent on."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def time(self, name: str, function: Callable[[], Any]) -> Any:
        """Call the function, note its CPU time under ``name``, and return its result."""
        started = time.process_time()
        result = function()
        self.seconds.setdefault(name, []).append(time.process_time() - started)
        return result

    def of(self, name: str) -> float:
        """Return the median time of the calls under ``name``, in seconds."""
        return statistics.median(self.seconds[name])


def peak_of(function: Callable[[], Any]) -> float:
    """Return the peak memory of a process that calls the function, above what it holds before the call, in MiB.

    Each call has a process of its own, since memory that an earlier call left on the heap would be used again unseen.
    """
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(sender, str(_peak_of(function)).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    if not answer:
        raise RuntimeError("the process whose memory was to be measured ended without an answer; its error is above")
    return float(answer)


_MALLOPT = {-1: 2**17, -3: 2**17, -4: 2**16}
"""Settings of ``malloc.h``: thresholds of trimming and of mapping in bytes, and the largest number of mappings."""


def _peak_of(function: Callable[[], Any]) -> float:
    """Return the peak memory of this process while it calls the function, above what it holds before, in MiB."""
    gc.collect()
    library = ctypes.CDLL(None)
    for setting in _MALLOPT.items():  # what is freed goes back at once, whatever the heap looks like
        library.mallopt(*setting)
    library.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    function()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    """Return a number of this process's status, in KiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])
