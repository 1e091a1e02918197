"""How many members train together: as many as are quickest together, which is found by trying."""

from __future__ import annotations

import math
import time

import torch

from ensemble_mtl.core.runtime.devices import finish
from ensemble_mtl.core.runtime.memory import is_shortage
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem, batches, losses_and_gradient

WORTHWHILE = 100
"""Nothing is tried where so few steps are left to do."""
GAIN = 0.85
"""A smaller stack must take less than this share of the larger one's time per member: a busy machine's times vary."""
REPEATS = 4


def quickest(problem: Problem, state: StackState) -> int:
    """The number of members, all of ``state`` at most, that takes the least time per member and training step.

    It is tried with all, half of them, a quarter and so on, as long as that helps, or as memory does not suffice.
    ``state`` stays as it is. A member's numbers do not depend on its stack, so only time does.
    """
    size = len(state)
    order = batches(problem, state.epoch)
    if size == 1 or len(order) * (problem.config.epochs - state.epoch) < WORTHWHILE:
        return size
    best, least = 1, math.inf
    while True:
        seconds = _step_seconds(problem, state.take(range(size)), order[0]) / size
        if seconds < GAIN * least:
            best, least = size, seconds
        elif seconds < math.inf:
            return best
        if size == 1:
            return best
        size = math.ceil(size / 2)


def _step_seconds(problem: Problem, state: StackState, graphs: torch.Tensor) -> float:
    """Of this process's own work; infinite where memory does not suffice."""
    parameters = state["parameters"]
    weights = torch.ones(len(state), len(problem.model.spec.tasks)).to(parameters)

    def now() -> float:
        if not parameters.is_cuda:
            return time.process_time()
        finish(parameters.device)
        return time.perf_counter()

    found = []
    try:
        for _ in range(REPEATS):
            started = now()
            losses_and_gradient(problem, state, weights, graphs)
            found.append(now() - started)
    except (RuntimeError, MemoryError) as error:
        if not is_shortage(error):
            raise
        return math.inf
    return min(found)
