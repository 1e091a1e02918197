"""A short measurement of how long one member of each subset and weighting takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from ensemble_mtl.config.sections import ProbeConfig
from ensemble_mtl.core.runtime.devices import finish
from ensemble_mtl.core.runtime.provenance import device_name
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.curvature.density import base as densities
from ensemble_mtl.curvature.measure import all_forms, hessian, probe_set
from ensemble_mtl.data.prepare import load, prepare
from ensemble_mtl.models.layout import stream_seed
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member, fingerprint
from ensemble_mtl.train.loop import batches
from ensemble_mtl.train.state import StackState, initial
from ensemble_mtl.train.step import Problem, losses_and_gradient, validate
from ensemble_mtl.train.weighting import base as weightings
from ensemble_mtl.worker.problem import choose_device, make_problem

NUM_STEPS = 5
"""Number of training steps that are timed, or all of an epoch if these are fewer."""


def measure(study: Study, progress: Callable[[int, int], None], num_workers: Callable[[], int]) -> None:
    """Time a few steps, a validation and a curvature product per subset and weighting, and write ``timing.json``.

    Args:
        study: the study; its data are prepared if they are not yet. The process must be prepared as a worker's is.
        progress: is called with (done, total) while raw files are read.
        num_workers: returns how many shards will run at a time. It is called last, since a launcher may have to start
            something to find out.
    """
    prepare(study, progress)
    device = choose_device(study.config)
    groups: dict[str, list[Member]] = {}
    for member in study.plan():
        groups.setdefault(member.group, []).append(member)
    seconds = {group: _member_seconds(study, members, device) for group, members in groups.items()}
    content = {
        "config": fingerprint(study.config),
        "device": device_name(device),
        "workers": num_workers(),
        "member_seconds": seconds,
    }
    atomic.write_json(study.timing, content)


def _member_seconds(study: Study, members: list[Member], device: torch.device) -> float:
    """Return the seconds that a member of one group takes for its training and probes, in a full stack."""
    config, example = study.config, members[0]
    prepared = load(study, example.split)
    problem = make_problem(
        config, prepared, example.subset, example.split, 1.0, device, weighting=example.weighting
    )  # fmt: skip
    seeds = [member.seed for member in members[: config.launch.members_per_shard]]
    state = initial(problem.layout, problem.buffers, seeds, problem.config, device)
    stack_seconds = config.train.epochs * _epoch_seconds(problem, state) + _probe_seconds(problem, state, config.probes)
    return stack_seconds / len(seeds)


def _epoch_seconds(problem: Problem, state: StackState) -> float:
    """Return the seconds that the stack takes for one epoch, by those of a few steps, and for its validation."""
    tasks = problem.model.spec.tasks
    weights = torch.ones(len(state), len(tasks), dtype=state["parameters"].dtype, device=problem.train.device)
    order = batches(problem, 0)
    losses_and_gradient(problem, state, weights, order[0])  # a first call also allocates and compiles
    started = _now(problem)
    for graphs in order[:NUM_STEPS]:
        losses_and_gradient(problem, state, weights, graphs)
    steps = (_now(problem) - started) / len(order[:NUM_STEPS]) * len(order)
    started = _now(problem)
    validate(problem, state)
    return steps + _now(problem) - started + _weighting_seconds(problem, state)


def _now(problem: Problem) -> float:
    """Return the time in seconds, once the device has finished its work."""
    finish(problem.train.device)
    return time.perf_counter()


def _weighting_seconds(problem: Problem, state: StackState) -> float:
    """Return the seconds per epoch that the weighting's estimates of curvature take, averaged over all epochs."""
    weighting, epochs = weightings.FAMILY.of(problem.config.weighting), problem.config.epochs
    num_estimates = sum(weighting.due(problem.config, epoch) for epoch in range(epochs))
    if problem.curvature is None or not num_estimates:
        return 0.0
    started = _now(problem)
    problem.curvature(problem, state)
    return (_now(problem) - started) * num_estimates / epochs


def _probe_seconds(problem: Problem, state: StackState, config: ProbeConfig | None) -> float:
    """Return the seconds that all probes of the stack take, by those of one quadratic form and one product per task."""
    if config is None:
        return 0.0
    graphs, tasks = probe_set(problem, config.graphs), problem.model.spec.tasks
    shared = state["parameters"][:, : problem.layout.num_shared]
    generator = torch.Generator().manual_seed(stream_seed("timing"))
    v = torch.randn(shared.shape, generator=generator, dtype=torch.float64).to(shared)
    density = densities.FAMILY.of(config.density)
    products = density.num_products(config.density, config.lanczos_steps, config.lanczos_starts)

    def second_call(function: Callable[[Tensor], Tensor]) -> float:
        """Return the seconds of a function's second call with ``v``."""
        function(v)  # a first call also allocates and compiles
        started = _now(problem)
        function(v)
        return _now(problem) - started

    seconds = config.trace_samples * second_call(all_forms(problem, state, tasks, graphs).quadratic_forms)
    seconds += products * sum(second_call(hessian(problem, state, task, graphs).matvec) for task in tasks)
    return seconds * len(config.epochs)
