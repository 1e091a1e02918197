"""Curvature of every task of two published networks, against PyHessian and curvlinops.

The graph network of New 2022 (1.9 million shared parameters) on molecules, and the PNA of Lupo Pasini 2022 on FePt's
lattice, each trained for a while, 64 graphs, one member, float32, one thread. CPU time; where the peers would take
half an hour, some of their vectors are measured and the time of all is reckoned from these, since each takes as long.
Memory is the peak above what the process held before.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import curvature_peers as peers
from benchmarks.curvature_problem import GRAPHS, Network, networks
from benchmarks.curvature_table import BLOCK, MEASURED, SAMPLES, STEPS, Measurements, page
from benchmarks.meters import Clock, peak_of
from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import ProbeConfig
from ensemble_mtl.core.runtime.this_process import prepare_process
from ensemble_mtl.curvature.measure import all_forms, measure, probe_set
from ensemble_mtl.curvature.sampling import rademacher
from ensemble_mtl.curvature.trace.base import ControlVariate
from ensemble_mtl.study.results import ProbeResult
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem

ROUNDS = 2
SPECTRA = ProbeConfig.model_validate(
    {
        "graphs": GRAPHS,
        "density": {"name": "deflated", "steps": 12},
        "lanczos_steps": 32,
        "lanczos_starts": 2,
        "trace": "deflated",
        "trace_samples": SAMPLES,
    }
)
"""Settings of a probe that takes 56 products per task, and the samples of the trace."""


def traces(network: Network, state: StackState, name: str, max_samples: int, errors: list[float] | None = None) -> Any:
    """Estimate the traces of all tasks, without a spectrum.

    Args:
        network: the network.
        state: its weights.
        name: name of the estimator.
        max_samples: number of samples at most.
        errors: the standard error to reach, for each task; if left out, all samples are taken.
    """
    problem, tasks = network.problem, network.tasks
    module = registry.family("curvature.trace").load(name)
    options = module.Options()
    norms = torch.zeros(len(tasks), 1, dtype=torch.float64)
    if errors is not None:
        # the estimator takes one relative error for all tasks, so each error is handed in as the norm of its task
        options = module.Options(relative_error=0.0, norm_error=1.0)
        norms = torch.tensor(errors, dtype=torch.float64)[:, None]
    no_controls = [ControlVariate(norms.new_zeros(1), norms.new_zeros(1, 0)) for _ in tasks]
    forms = all_forms(problem, state, tasks, probe_set(problem, GRAPHS))
    return module.estimate(options, _vectors(problem, state, max_samples), max_samples, forms, no_controls, norms)


def _vectors(problem: Problem, state: StackState, count: int) -> Iterator[Tensor]:
    """Yield ``count`` vectors of random signs, as long as the shared parameters."""
    generator = torch.Generator().manual_seed(5)
    shared = state["parameters"][:, : problem.layout.num_shared]
    for _ in range(count):
        yield rademacher(shared.shape[1], shared, generator)


def run(rounds: int) -> dict[str, str]:
    """Measure both networks; return file name -> content of the page."""
    prepare_process()
    with tempfile.TemporaryDirectory() as folder:
        return {"curvature.md": page([(network, _measure(network, rounds)) for network in networks(Path(folder))])}


def _measure(network: Network, rounds: int) -> Measurements:
    """Measure memory, times and replicates of one network, with the peers that are installed."""
    state, untrained = network.trained, network.untrained
    clock, left_out = Clock(), peers.missing()
    task_networks = [peers.TaskNetwork(network.problem, state, task, GRAPHS) for task in network.tasks]
    has_pyhessian, has_curvlinops = (not any(name in line for line in left_out) for name in ("pyhessian", "curvlinops"))
    columns: list[Callable[[int], object]] = [peers.curvlinops(task_networks[0])] if has_curvlinops else []
    traces(network, state, "gauss_newton", 2)  # whatever is loaded at a first use is not counted as memory
    for product in columns:
        product(1)
    if has_pyhessian:
        peers.pyhessian(task_networks[0])[0](1)
        task_networks[0].zero_grad()
    memory = _memory(network, task_networks[0], columns, has_pyhessian=has_pyhessian)
    errors = [_errors(network, weights) for weights in (state, untrained)]
    for _ in range(rounds):
        for task_network in task_networks:
            clock.time("gradient", partial(_gradient, task_network))
            if has_pyhessian:
                samples, _ = clock.time("PyHessian, start", partial(peers.pyhessian, task_network))
                clock.time("PyHessian, forms", partial(samples, MEASURED))
                del samples
                task_network.zero_grad()
        for product in columns:
            clock.time("curvlinops, products", partial(product, BLOCK))
        clock.time("forms", lambda: traces(network, state, "hutchinson", SAMPLES))
        estimates = [
            clock.time(name, partial(traces, network, weights, "gauss_newton", SAMPLES, error))
            for name, weights, error in zip(("traces", "traces, untrained"), (state, untrained), errors, strict=True)
        ]
    peer_replicates = []
    if has_pyhessian:
        density = peers.pyhessian(task_networks[0])[1]
        peer_replicates = [clock.time("PyHessian, density", lambda: density(STEPS)) for _ in range(2)]
        del density
        task_networks[0].zero_grad()
    replicates = [clock.time("everything", partial(_everything, network, epoch))[0] for epoch in (0, 1)]
    return Measurements(
        clock, memory, errors[0], estimates[0], estimates[1], replicates, peer_replicates, left_out
    )  # fmt: skip


def _memory(
    network: Network, task_network: peers.TaskNetwork, columns: list[Callable[[int], object]], *, has_pyhessian: bool
) -> dict[str, float]:
    """Return the peak memory in MiB, by what takes it."""
    state, untrained = network.trained, network.untrained
    memory = {
        "forms": peak_of(lambda: traces(network, state, "hutchinson", 2)),
        "traces": peak_of(lambda: traces(network, state, "gauss_newton", 20)),
        "traces, untrained": peak_of(lambda: traces(network, untrained, "gauss_newton", 20)),
        "everything": peak_of(lambda: _everything(network, 0)),
    }
    for product in columns:
        memory["curvlinops, 8 columns"] = peak_of(partial(product, BLOCK))
    if has_pyhessian:
        memory["PyHessian, forms"] = peak_of(lambda: peers.pyhessian(task_network)[0](2))
        memory["PyHessian, density"] = peak_of(lambda: peers.pyhessian(task_network)[1](STEPS))
    return memory


def _everything(network: Network, epoch: int) -> list[list[ProbeResult]]:
    """Measure spectra and traces of the trained network; the epoch only chooses the random vectors."""
    return measure(network.problem, StackState(network.trained.tensors, epoch), SPECTRA, network.tasks)


def _gradient(network: peers.TaskNetwork) -> None:
    """Compute the gradient of one task's loss."""
    loss = torch.nn.functional.mse_loss(network(network.targets), network.targets)
    torch.autograd.grad(loss, list(network.parameters()))


def _errors(network: Network, state: StackState) -> list[float]:
    """Return each task's standard error of a trace of :data:`SAMPLES` samples, from the spread of 60."""
    estimate = traces(network, state, "hutchinson", 60)
    return [float(sem) * math.sqrt(60 / SAMPLES) for sem in estimate.sem[:, 0]]
