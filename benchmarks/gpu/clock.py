"""Seconds and memory of what a device does."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.gpu.part import Setting
from ensemble_mtl.core.runtime.devices import finish

MIB = 2**20


def seconds(function: Callable[[], object], setting: Setting, *, calls: int = 1, repeats: int = 5) -> float:
    """The median of the seconds that a call takes, after one call that is not counted.

    Args:
        function: what is called.
        setting: on a GPU its own clock is read, between two marks in its stream.
        calls: how many follow each other between two readings of the clock.
        repeats: how often the clock is read.
    """
    function()
    measure = _by_events if setting.real_gpu else _by_clock
    return statistics.median(measure(function, setting, calls) / calls for _ in range(repeats))


def _by_events(function: Callable[[], object], setting: Setting, calls: int) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    finish(setting.torch_device)
    begin.record()
    for _ in range(calls):
        function()
    end.record()
    finish(setting.torch_device)
    return begin.elapsed_time(end) / 1e3


def _by_clock(function: Callable[[], object], setting: Setting, calls: int) -> float:
    finish(setting.torch_device)
    begin = time.perf_counter()
    for _ in range(calls):
        function()
    finish(setting.torch_device)
    return time.perf_counter() - begin


def once(function: Callable[[], object], setting: Setting) -> float:
    """The seconds of a single call, the first one included."""
    return _by_clock(function, setting, 1)


def forget_memory(setting: Setting) -> None:
    """Free what is left of former measurements, and begin to note the peak anew."""
    gc.collect()
    if setting.real_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.torch_device)


def peak_memory_mib(setting: Setting) -> dict[str, float] | None:
    """Peak of what tensors take, and of what torch holds for them, recordings included; None without a GPU."""
    if not setting.real_gpu:
        return None
    device = setting.torch_device
    return {
        "allocated": torch.cuda.max_memory_allocated(device) / MIB,
        "reserved": torch.cuda.max_memory_reserved(device) / MIB,
    }
