"""Part 2: training speed of stacks, eager and recorded, against plain PyG or torch on the same card."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from benchmarks.gpu.clock import forget_memory, once, peak_memory_mib, seconds
from benchmarks.gpu.data import CASES, config_of, name_of, prepared_of
from benchmarks.gpu.part import Record, Setting, main, says
from benchmarks.gpu.recording import observed
from ensemble_mtl.core.runtime.memory import is_shortage
from ensemble_mtl.models.reference import reference_model
from ensemble_mtl.train.loop import batches, train_epoch
from ensemble_mtl.train.state import initial
from ensemble_mtl.train.step import Problem
from ensemble_mtl.worker.problem import make_problem

STACKS = (1, 4, 12, 28, 84)
SMALL_STACKS = (1, 4)
STEPS, SMALL_STEPS = 12, 3
REPLAYS, SMALL_REPLAYS = 20, 2
NOT_RECORDED = "graphs of different sizes are not recorded"


def measure(setting: Setting, record: Record) -> None:
    """Both cases; the largest stack comes first, since it says most if time runs out."""
    for case in CASES:
        problem = problem_of(setting, case)
        record[case] = row = {"data": name_of(setting, case), **_shape(problem)}
        row["peer_name"] = "plain PyG" if problem.model.spec.config.trunk.name == "convolutions" else "plain torch"
        row["peer"] = _guarded(lambda problem=problem: _peer(setting, problem))
        row["stacks"] = stacks = dict[str, Any]()
        record.write()
        for size in sorted(STACKS if setting.full else SMALL_STACKS, reverse=True):
            stacks[str(size)] = {
                "eager": _guarded(lambda problem=problem, size=size: _eager(setting, problem, size)),
                "recorded": _guarded(lambda problem=problem, size=size: _recorded(setting, problem, size)),
            }
            record.write()


def problem_of(setting: Setting, case: str) -> Problem:
    """A case's training problem as published."""
    config = config_of(setting, case)
    return make_problem(config, prepared_of(setting, case), tuple(config.tasks), 0, 1.0, setting.torch_device)


def shortened(problem: Problem, steps: int) -> Problem:
    """The problem whose epochs have so many steps at most, all of whole batches."""
    size = min(problem.config.batch_size, len(problem.train))
    steps = max(1, min(steps, len(problem.train) // size))
    return replace(problem, train=problem.train[: steps * size])


def _shape(problem: Problem) -> dict[str, Any]:
    graphs = len(problem.train)
    return {
        "graphs": graphs,
        "batch": problem.config.batch_size,
        "steps_per_epoch": math.ceil(graphs / problem.config.batch_size),
        "parameters": problem.layout.size,
    }


def _guarded(function: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the function measures; what it fails of otherwise."""
    try:
        return function()
    except (RuntimeError, MemoryError) as error:
        return {"not measured": "memory does not suffice" if is_shortage(error) else says(error)}


def _peer(setting: Setting, problem: Problem) -> dict[str, Any]:
    """The same architecture of PyG's own layers, or of torch's where PyG has none; a batch that is ready."""
    forget_memory(setting)
    graphs = problem.table.batch(batches(problem, 0)[0])
    batch, spec = graphs.to_pyg(), problem.model.spec
    pooling = getattr(spec.config.trunk, "pooling", "mean")
    model = reference_model(spec, problem.model.degrees, problem.model.node_tasks, pooling).to(setting.torch_device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        outputs = model(batch)
        losses = [torch.nn.functional.mse_loss(outputs[task].flatten(), batch[f"y_{task}"]) for task in spec.tasks]
        torch.stack(losses).sum().backward()
        optimizer.step()

    one = seconds(step, setting, calls=STEPS if setting.full else SMALL_STEPS)
    return {"step_seconds": one, "graphs_per_second": graphs.num_graphs / one, "memory_mib": peak_memory_mib(setting)}


def _eager(setting: Setting, problem: Problem, size: int) -> dict[str, Any]:
    """Epochs of a few steps, one operation at a time."""
    forget_memory(setting)
    short = shortened(problem, STEPS if setting.full else SMALL_STEPS)
    epoch, steps = _epoch(setting, short, size), len(batches(short, 0))
    with observed(record=False):
        one = seconds(epoch, setting, repeats=3 if setting.full else 1) / steps
    return _rates(problem, short, size, one, one * _shape(problem)["steps_per_epoch"], setting)


def _recorded(setting: Setting, problem: Problem, size: int) -> dict[str, Any]:
    """One step recorded as training does, then replayed."""
    if setting.device == "cpu":
        return {"not measured": "a CPU records nothing"}
    forget_memory(setting)
    short = shortened(problem, 3)
    epoch = _epoch(setting, short, size)
    with observed(keep=True) as recordings:
        first = once(epoch, setting)
        once(epoch, setting)
    if recordings.replay is None:
        reason = "; ".join(recordings.refused) or ("no room for a recording" if recordings.asked else NOT_RECORDED)
        return {"not measured": reason}
    one = seconds(recordings.replay, setting, calls=REPLAYS if setting.full else SMALL_REPLAYS, repeats=3)
    recording = recordings.seconds[-1]
    whole = recording + one * _shape(problem)["steps_per_epoch"]
    return {
        **_rates(problem, short, size, one, whole, setting),
        "recording_seconds": recording,
        "first_epoch_seconds": first,
    }


def _epoch(setting: Setting, problem: Problem, size: int) -> Callable[[], object]:
    """Trains a stack of so many new members for one epoch."""
    device = setting.torch_device
    state = initial(problem.layout, problem.buffers, range(size), problem.config, device)
    weights = torch.ones(size, len(problem.model.spec.tasks), dtype=state["parameters"].dtype, device=device)
    return lambda: train_epoch(problem, state, weights)


def _rates(problem: Problem, short: Problem, size: int, step: float, epoch: float, setting: Setting) -> dict[str, Any]:
    """Graphs per second, each counted once per member, of steps alone and of a whole epoch."""
    batch = len(short.train) / len(batches(short, 0))
    return {
        "step_seconds": step,
        "graphs_per_second": size * batch / step,
        "epoch_seconds": epoch,
        "epoch_graphs_per_second": size * len(problem.train) / epoch,
        "memory_mib": peak_memory_mib(setting),
    }


if __name__ == "__main__":
    main(measure)
