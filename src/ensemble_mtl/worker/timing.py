"""A short measurement: how long one member of each subset takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import ProbeConfig
from ensemble_mtl.core.runtime.devices import finish
from ensemble_mtl.core.runtime.provenance import device_name
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.curvature.measure import all_forms, hessian, probe_set
from ensemble_mtl.data.prepare import load, prepare
from ensemble_mtl.models.layout import stream_seed
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member, fingerprint
from ensemble_mtl.train.state import StackState, initial
from ensemble_mtl.train.step import Problem, batches, losses_and_gradient, validate
from ensemble_mtl.worker.shard import choose_device, make_problem

NUM_STEPS = 5


def measure(study: Study, progress: Callable[[int, int], None]) -> None:
    """Time a few steps, a validation and a curvature product per subset; write ``timing.json``."""
    prepare(study, progress)
    torch.set_num_threads(1)  # as a worker runs
    device = choose_device(study.config)
    options = study.config.launch.launcher
    groups: dict[str, list[Member]] = {}
    for member in study.members():
        groups.setdefault(member.group, []).append(member)
    seconds = {}
    for group, members in groups.items():
        first = members[0]
        prepared = load(study, first.split)
        problem = make_problem(
            study.config, prepared, first.subset, first.split, 1.0, device, weighting=first.weighting
        )
        seeds = [member.seed for member in members[: study.config.launch.members_per_shard]]
        state = initial(problem.layout, problem.buffers, seeds, problem.config, device)
        stack = study.config.train.epochs * _epoch(problem, state) + _probes(problem, state, study.config.probes)
        seconds[group] = stack / len(seeds)
    workers = registry.load("launch", options.name).num_workers(study, options)
    content = {
        "config": fingerprint(study.config),
        "device": device_name(device),
        "workers": workers,
        "member_seconds": seconds,
    }
    atomic.write_json(study.timing, content)


def _epoch(problem: Problem, state: StackState) -> float:
    tasks = problem.model.spec.tasks
    weights = torch.ones(len(state), len(tasks), dtype=state["parameters"].dtype, device=problem.train.device)
    order = batches(problem, 0)
    losses_and_gradient(problem, state, weights, order[0])  # first calls allocate
    started = _now(problem)
    for graphs in order[:NUM_STEPS]:
        losses_and_gradient(problem, state, weights, graphs)
    steps = (_now(problem) - started) / len(order[:NUM_STEPS]) * len(order)
    started = _now(problem)
    validate(problem, state)
    return steps + _now(problem) - started + _estimates(problem, state)


def _now(problem: Problem) -> float:
    finish(problem.train.device)
    return time.perf_counter()


def _estimates(problem: Problem, state: StackState) -> float:
    """What the weighting's own estimates of curvature take per epoch."""
    options = problem.config.weighting
    if problem.curvature is None or not hasattr(registry.load("train.weighting", options.name), "observe"):
        return 0.0
    started = _now(problem)
    problem.curvature(problem, state)
    return (_now(problem) - started) / options.every


def _probes(problem: Problem, state: StackState, config: ProbeConfig | None) -> float:
    if config is None:
        return 0.0
    graphs, tasks = probe_set(problem, config.graphs), problem.model.spec.tasks
    shared = state["parameters"][:, : problem.layout.num_shared]
    generator = torch.Generator().manual_seed(stream_seed("timing"))
    v = torch.randn(shared.shape, generator=generator, dtype=torch.float64).to(shared)
    density = registry.load("curvature.density", config.density.name)
    products = density.num_products(config.density, config.lanczos_steps, config.lanczos_starts)

    def second_call(function: Callable[[Tensor], Tensor]) -> float:
        function(v)  # first calls allocate
        started = _now(problem)
        function(v)
        return _now(problem) - started

    seconds = config.trace_samples * second_call(all_forms(problem, state, tasks, graphs).quadratic_forms)
    seconds += products * sum(second_call(hessian(problem, state, task, graphs).matvec) for task in tasks)
    return seconds * len(config.epochs)
