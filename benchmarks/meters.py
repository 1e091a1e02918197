"""CPU time and peak memory of what a benchmark runs."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
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
    """Peak of the process's memory above what it has now, in MiB."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before must not hide what is taken now
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    function()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])
