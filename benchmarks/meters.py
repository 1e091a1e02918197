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
        """Call the function and note its time."""
        started = time.process_time()
        found = function()
        self.seconds.setdefault(name, []).append(time.process_time() - started)
        return found

    def of(self, name: str) -> float:
        """Median."""
        return statistics.median(self.seconds[name])


def peak_of(function: Callable[[], Any]) -> float:
    """Peak memory of a process that calls the function, above what it has before, in MiB.

    Each call has a process of its own: what others have left on the heap would stand in for what this one takes.
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
    with os.fdopen(receiver) as told:
        found = told.read()
    os.waitpid(child, 0)
    if not found:
        raise RuntimeError("the process whose memory was to be measured ended before it told")
    return float(found)


_MALLOPT = {-1: 2**17, -3: 2**17, -4: 2**16}
"""Of ``malloc.h``: thresholds of trimming and of mapping, and how many mappings there may be."""


def _peak_of(function: Callable[[], Any]) -> float:
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
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])
