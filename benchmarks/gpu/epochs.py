"""Three epochs on the device: recorded against one operation at a time, twice the same or not, against the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.gpu.models import CPU, Example, deviation, plain_operations, start, weights
from benchmarks.gpu.part import Setting
from benchmarks.gpu.recording import Recordings, observed
from ensemble_mtl.train.loop import run_epoch
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem

COMPARED = ("parameters", "buffers", "best.parameters", "best.loss")


@dataclass
class Trained:
    """Members after three epochs, and what was recorded meanwhile."""

    state: StackState
    recordings: Recordings


def compare(setting: Setting, example: Example) -> dict[str, Any]:
    """Deviations of trained members, and whether two trainings agree bit for bit."""
    with plain_operations():
        expected = train(example.problem(setting, CPU), CPU, record=False).state
    device, problem = setting.torch_device, example.problem(setting, setting.torch_device)
    eager, again = (train(problem, device, record=False).state for _ in range(2))
    recorded, recorded_again = (train(problem, device, record=True) for _ in range(2))
    twice: dict[str, bool] = {}
    apart = {"eager against the CPU": apart_by(eager, expected)}
    if recorded.recordings.asked:
        apart["recorded against eager"] = apart_by(recorded.state, eager)
        twice["recorded twice the same"] = same(recorded.state, recorded_again.state)
    return {
        "deviations": apart,
        "eager twice the same": same(eager, again),
        **twice,
        "asked": recorded.recordings.asked,
        "recordings": len(recorded.recordings.seconds),
        "refused": recorded.recordings.refused,
    }


def train(problem: Problem, device: torch.device, *, record: bool) -> Trained:
    """Train from :func:`benchmarks.gpu.models.start`, with validation."""
    state, given = start(problem, device), weights(problem, device)
    with observed(record=record) as recordings:
        for _ in range(problem.config.epochs):
            run_epoch(problem, state, given)
    return Trained(state, recordings)


def apart_by(state: StackState, expected: StackState) -> float:
    """The largest deviation of what training changes."""
    return max(deviation(state[name], expected[name]) for name in COMPARED if expected[name].numel())


def same(one: StackState, other: StackState) -> bool:
    """Whether they agree bit for bit."""
    return all(torch.equal(one[name].cpu(), other[name].cpu()) for name in COMPARED)
