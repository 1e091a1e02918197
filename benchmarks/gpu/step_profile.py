"""Part 3: what one eager and one replayed training step launch, and what the recordings of epochs take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.clock import forget_memory, seconds
from benchmarks.gpu.data import CASES, name_of
from benchmarks.gpu.part import EMULATED, Record, Setting, main
from benchmarks.gpu.recording import observed
from benchmarks.gpu.speed import NOT_RECORDED, problem_of, shortened
from ensemble_mtl.core.runtime.devices import finish
from ensemble_mtl.train.loop import train_epoch
from ensemble_mtl.train.state import initial
from ensemble_mtl.train.step import Problem

STACKS, SMALL_STACKS = (12, 84), (2,)
TOP = 12
EPOCHS = 3
COPIES = ("Memcpy", "Memset")


def measure(setting: Setting, record: Record) -> None:
    """Both cases, in two sizes of stacks."""
    if setting.emulated:
        record["profile"] = EMULATED
        return
    for case in CASES:
        problem = problem_of(setting, case)
        record[case] = row = {"data": name_of(setting, case), "stacks": {}}
        for size in STACKS if setting.full else SMALL_STACKS:
            forget_memory(setting)
            row["stacks"][str(size)] = _steps(setting, problem, size)
            record.write()


def _steps(setting: Setting, problem: Problem, size: int) -> dict[str, Any]:
    state = initial(problem.layout, problem.buffers, range(size), problem.config, setting.torch_device)
    weights = torch.ones(size, len(problem.model.spec.tasks), device=setting.torch_device)
    single, several = shortened(problem, 1), shortened(problem, 4)
    with observed(record=False):
        eager = _profiled(lambda: train_epoch(single, state, weights), setting)
    with observed(keep=True) as recordings:
        for _ in range(EPOCHS):
            train_epoch(several, state, weights)
    replayed: dict[str, Any] = {"not measured": "; ".join(recordings.refused) or NOT_RECORDED}
    if setting.device == "cpu":
        replayed = {"not measured": "a CPU records nothing"}
    elif recordings.replay is not None:
        replayed = _profiled(recordings.replay, setting)
    return {"eager": eager, "replayed": replayed, "recording_seconds_per_epoch": recordings.seconds}


def _profiled(step: Callable[[], object], setting: Setting) -> dict[str, Any]:
    """One call under the profiler, and the seconds that it takes without."""
    wall = seconds(step, setting)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if setting.real_gpu else [])]
    with profile(activities=activities) as profiler:
        step()
        finish(setting.torch_device)
    summary = _on_gpu(profiler) if setting.real_gpu else _on_cpu(profiler)
    return {"wall_seconds": wall, **summary}


def _on_gpu(profiler: profile) -> dict[str, Any]:
    """Kernels, their time, and what the CPU called of CUDA."""
    events = [event for event in profiler.events() or [] if not getattr(event, "is_user_annotation", False)]
    ran = [event for event in events if event.device_type == DeviceType.CUDA]
    kernels = [event for event in ran if not event.name.startswith(COPIES)]
    calls = Counter(
        event.name for event in events if event.device_type != DeviceType.CUDA and event.name.startswith("cu")
    )
    times, counts = Counter[str](), Counter[str]()
    for event in kernels:
        times[event.name] += event.time_range.elapsed_us()
        counts[event.name] += 1
    return {
        "kernels": len(kernels),
        "copies": len(ran) - len(kernels),
        "device_seconds": sum(event.time_range.elapsed_us() for event in ran) / 1e6,
        "calls": dict(calls.most_common(TOP)),
        "waits": calls["cudaStreamSynchronize"],
        "top": [
            {"name": name[:120], "count": counts[name], "seconds": time / 1e6} for name, time in times.most_common(TOP)
        ],
    }


def _on_cpu(profiler: profile) -> dict[str, Any]:
    """The operations with the most time of their own."""
    averages = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    return {
        "operations": sum(event.count for event in averages),
        "top": [
            {"name": event.key[:120], "count": event.count, "seconds": event.self_cpu_time_total / 1e6}
            for event in averages[:TOP]
        ],
    }


if __name__ == "__main__":
    main(measure)
