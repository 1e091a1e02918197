"""The ceilings of the machine, and how much of them a training step reaches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ensemble_mtl.models.trunk.convolutions import widths
from ensemble_mtl.train.step import Problem

REPEATS = 7
_PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm")
_LOOPS = ("_Aggregate", "_BatchNormReLU")
_MOVED_IN, _MOVED_OUT = 7 + 12, 2 + 4
"""Numbers of values that aggregation and batch norm must read and write, forward and backward: per node and feature of
a layer's input, and per node and feature of its output."""


@dataclass
class Ceilings:
    """The ceilings of one core.

    Attributes:
        flops: floating-point operations per second in a product of large float32 matrices.
        bytes: bytes per second that a copy between large arrays reads and writes.
    """

    flops: float
    bytes: float


@dataclass
class Spent:
    """Where the CPU time of a training step goes.

    Attributes:
        products: share of the time that matrix products take.
        loops: share of the time that compiled loops take.
        flops: floating-point operations of the products, per second that they take.
        bytes: bytes that the loops must move, per second that they take.
    """

    products: float
    loops: float
    flops: float
    bytes: float


def measure() -> Ceilings:
    """Measure the ceilings with 1,024 × 1,024 matrices, and with arrays of 128 MiB."""
    a, x = torch.randn(1024, 1024), torch.randn(2**25)
    product, copy = torch.empty_like(a), torch.empty_like(x)
    flops, moved = 2 * a.shape[0] ** 3, 2 * x.numel() * x.element_size()
    return Ceilings(
        flops / _seconds(lambda: torch.mm(a, a, out=product)), moved / _seconds(lambda: torch.mul(x, 2, out=copy))
    )


def _seconds(function: Callable[[], object]) -> float:
    """Return the median CPU time of a call in seconds."""
    function()
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return statistics.median(times)


def spent(step: Callable[[], None], problem: Problem, members: int, nodes: int) -> Spent:
    """Profile a training step.

    Args:
        step: does the step.
        problem: model and data.
        members: number of members in the stack.
        nodes: number of nodes in the batch.
    """
    step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], with_flops=True) as profile:
        for _ in range(REPEATS):
            step()
    events = profile.key_averages()
    total = sum(event.self_cpu_time_total for event in events) / 1e6
    products = [event for event in events if event.key in _PRODUCTS]
    in_products = sum(event.self_cpu_time_total for event in products) / 1e6
    in_loops = sum(event.self_cpu_time_total for event in events if event.key.startswith(_LOOPS)) / 1e6
    layers = widths(problem.model.spec.in_features, problem.model.spec.config.trunk)
    values = sum(_MOVED_IN * fan_in + _MOVED_OUT * fan_out for fan_in, fan_out in layers)
    size = torch.finfo(getattr(torch, problem.config.dtype)).bits // 8
    return Spent(
        in_products / total,
        in_loops / total,
        sum(event.flops for event in products) / in_products,
        REPEATS * members * nodes * values * size / in_loops,
    )
