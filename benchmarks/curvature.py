"""Curvature of every task of two published networks, against PyHessian and curvlinops.

The graph network of New 2022 (1.9 million shared parameters) on molecules, and the PNA of Lupo Pasini 2022 on FePt's
lattice, each trained for a while, 64 graphs, one member, float32, one thread. CPU time; where the peers would take
half an hour, some of their vectors are measured and the rest reckoned, since each takes as long as the last. Memory is
the peak above what was there before.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import curvature_peers as peers
from benchmarks.curvature_problem import GRAPHS, Network, networks
from benchmarks.curvature_table import BLOCK, MEASURED, SAMPLES, STEPS, Found, page
from benchmarks.meters import Clock, peak_of
from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import ProbeConfig
from ensemble_mtl.curvature.hutchinson import rademacher
from ensemble_mtl.curvature.measure import all_forms, measure, probe_set
from ensemble_mtl.curvature.trace.base import Control
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
"""56 products per task, and the samples of the trace."""


def traces(network: Network, state: StackState, name: str, most: int, relative: list[float] | None = None) -> Any:
    """The traces of all tasks by one estimator, without a spectrum; ``relative`` is the error asked of each task."""
    problem, tasks = network.problem, network.tasks
    module = registry.load("curvature.trace", name)
    options = module.Options()
    norms = torch.zeros(len(tasks), 1, dtype=torch.float64)
    if relative is not None:  # each task has its own, so it is asked for as a share of a norm
        options = module.Options(relative_error=0.0, norm_error=1.0)
        norms = torch.tensor(relative, dtype=torch.float64)[:, None]
    nothing = [Control(norms.new_zeros(1), norms.new_zeros(1, 0)) for _ in tasks]
    forms = all_forms(problem, state, tasks, probe_set(problem, GRAPHS))
    return module.estimate(options, _vectors(problem, state, most), most, forms, nothing, norms)


def _vectors(problem: Problem, state: StackState, count: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(5)
    shared = state["parameters"][:, : problem.layout.num_shared]
    for _ in range(count):
        yield rademacher(shared.shape[1], shared, generator)


def run(rounds: int) -> dict[str, str]:
    """Measure; the page with the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return {"curvature.md": page([(network, _measure(network, rounds)) for network in networks(Path(folder))])}


def _measure(network: Network, rounds: int) -> Found:
    state, untrained = network.trained, network.untrained
    clock, left_out = Clock(), peers.missing()
    of_tasks = [peers.TaskNetwork(network.problem, state, task, GRAPHS) for task in network.tasks]
    has_pyhessian, has_curvlinops = (not any(name in line for line in left_out) for name in ("pyhessian", "curvlinops"))
    columns: list[Callable[[int], object]] = [peers.curvlinops(of_tasks[0])] if has_curvlinops else []
    traces(network, state, "gauss_newton", 2)  # whatever is loaded at a first use is not counted as memory
    for product in columns:
        product(1)
    if has_pyhessian:
        peers.pyhessian(of_tasks[0])[0](1)
        of_tasks[0].zero_grad()
    memory = {
        "forms": peak_of(lambda: traces(network, state, "hutchinson", 2)),
        "traces": peak_of(lambda: traces(network, state, "gauss_newton", 20)),
        "traces, untrained": peak_of(lambda: traces(network, untrained, "gauss_newton", 20)),
        "everything": peak_of(lambda: _everything(network, 0)),
    }
    for product in columns:
        memory["curvlinops, 8 columns"] = peak_of(lambda product=product: product(BLOCK))
    if has_pyhessian:
        memory["PyHessian, forms"] = peak_of(lambda: peers.pyhessian(of_tasks[0])[0](2))
        memory["PyHessian, density"] = peak_of(lambda: peers.pyhessian(of_tasks[0])[1](STEPS))
    errors = [_errors(network, one) for one in (state, untrained)]
    for _ in range(rounds):
        for one in of_tasks:
            clock.time("gradient", lambda one=one: _gradient(one))
            if has_pyhessian:
                samples, _ = clock.time("PyHessian, start", lambda one=one: peers.pyhessian(one))
                clock.time("PyHessian, forms", lambda samples=samples: samples(MEASURED))
                del samples
                one.zero_grad()
        for product in columns:
            clock.time("curvlinops, products", lambda product=product: product(BLOCK))
        clock.time("forms", lambda: traces(network, state, "hutchinson", SAMPLES))
        estimates = [
            clock.time(name, lambda one=one, error=error: traces(network, one, "gauss_newton", SAMPLES, error))
            for name, one, error in zip(("traces", "traces, untrained"), (state, untrained), errors, strict=True)
        ]
    peer_replicates = []
    if has_pyhessian:
        of_steps = peers.pyhessian(of_tasks[0])[1]
        peer_replicates = [clock.time("PyHessian, density", lambda: of_steps(STEPS)) for _ in range(2)]
        del of_steps
        of_tasks[0].zero_grad()
    replicates = [clock.time("everything", lambda epoch=epoch: _everything(network, epoch)) for epoch in (0, 1)]
    return Found(
        clock, memory, errors[0], estimates[0], estimates[1], [one[0] for one in replicates], peer_replicates, left_out
    )


def _everything(network: Network, epoch: int) -> list[list[ProbeResult]]:
    """Spectra and traces of the trained network; the epoch names the random vectors."""
    return measure(network.problem, StackState(network.trained.tensors, epoch), SPECTRA, network.tasks)


def _gradient(network: peers.TaskNetwork) -> None:
    loss = torch.nn.functional.mse_loss(network(network.targets), network.targets)
    torch.autograd.grad(loss, list(network.parameters()))


def _errors(network: Network, state: StackState) -> list[float]:
    """Of 500 samples, from the deviation of 60."""
    found = traces(network, state, "hutchinson", 60)
    return [float(sem) * math.sqrt(60 / SAMPLES) for sem in found.sem[:, 0]]
