"""Curvature of four tasks on the graph network of New 2022, against PyHessian and curvlinops.

The network at full size (1.9 million shared parameters), trained for a while, 64 molecules, one
member, float32, one thread. CPU time; where the peers would take half an hour, some of their vectors are
measured and the rest reckoned, since each takes as long as the last. Memory is the peak above what was there before.
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
from benchmarks.curvature_problem import EPOCHS, GRAPHS, TASKS, make
from benchmarks.curvature_table import BLOCK, MEASURED, SAMPLES, STEPS, Found, table
from benchmarks.meters import Clock, peak_of
from ensemble_mtl import registry
from ensemble_mtl.probes.hutchinson import rademacher
from ensemble_mtl.probes.measure import all_forms, measure, probe_set
from ensemble_mtl.probes.trace.base import Control
from ensemble_mtl.sections import ProbeConfig
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem, train_epoch

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


def traces(problem: Problem, state: StackState, name: str, most: int, relative: list[float] | None = None) -> Any:
    """The traces of all tasks by one estimator, without a spectrum; ``relative`` is the error asked of each task."""
    module = registry.load("probes.trace", name)
    options = module.Options()
    norms = torch.zeros(len(TASKS), 1, dtype=torch.float64)
    if relative is not None:  # each task has its own, so it is asked for as a share of a norm
        options = module.Options(relative_error=0.0, norm_error=1.0)
        norms = torch.tensor(relative, dtype=torch.float64)[:, None]
    nothing = [Control(norms.new_zeros(1), norms.new_zeros(1, 0)) for _ in TASKS]
    forms = all_forms(problem, state, TASKS, probe_set(problem, GRAPHS))
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
        problem, state = make(Path(folder))
        fresh = state["parameters"].clone()
        for _ in range(EPOCHS):
            train_epoch(problem, state, torch.ones(1, len(TASKS)))
    untrained = StackState({**state.tensors, "parameters": fresh}, epoch=0)
    return {"curvature.md": table(problem, _measure(problem, state, untrained, rounds))}


def _measure(problem: Problem, state: StackState, untrained: StackState, rounds: int) -> Found:
    clock, left_out = Clock(), peers.missing()
    networks = [peers.TaskNetwork(problem, state, task, GRAPHS) for task in TASKS]
    has_pyhessian, has_curvlinops = (not any(name in line for line in left_out) for name in ("pyhessian", "curvlinops"))
    columns: list[Callable[[int], object]] = [peers.curvlinops(networks[0])] if has_curvlinops else []
    traces(problem, state, "gauss_newton", 2)  # whatever is loaded at a first use is not counted as memory
    for product in columns:
        product(1)
    if has_pyhessian:
        peers.pyhessian(networks[0])[0](1)
        networks[0].zero_grad()
    memory = {
        "forms": peak_of(lambda: traces(problem, state, "hutchinson", 2)),
        "traces": peak_of(lambda: traces(problem, state, "gauss_newton", 20)),
        "traces, untrained": peak_of(lambda: traces(problem, untrained, "gauss_newton", 20)),
        "everything": peak_of(lambda: measure(problem, state, SPECTRA, TASKS)),
    }
    for product in columns:
        memory["curvlinops, 8 columns"] = peak_of(lambda product=product: product(BLOCK))
    if has_pyhessian:
        memory["PyHessian, forms"] = peak_of(lambda: peers.pyhessian(networks[0])[0](2))
        memory["PyHessian, density"] = peak_of(lambda: peers.pyhessian(networks[0])[1](STEPS))
    for _ in range(rounds):
        for network in networks:
            clock.time("gradient", lambda network=network: _gradient(network))
            if has_pyhessian:
                samples, _ = clock.time("PyHessian, start", lambda network=network: peers.pyhessian(network))
                clock.time("PyHessian, forms", lambda samples=samples: samples(MEASURED))
                del samples
                network.zero_grad()
        for product in columns:
            clock.time("curvlinops, products", lambda product=product: product(BLOCK))
    peer_replicates = []
    if has_pyhessian:
        of_steps = peers.pyhessian(networks[0])[1]
        peer_replicates = [clock.time("PyHessian, density", lambda: of_steps(STEPS)) for _ in range(2)]
        del of_steps
        networks[0].zero_grad()
    errors = [_errors(problem, one) for one in (state, untrained)]
    clock.time("forms", lambda: traces(problem, state, "hutchinson", SAMPLES))
    estimates = [
        clock.time(name, lambda one=one, error=error: traces(problem, one, "gauss_newton", SAMPLES, error))
        for name, one, error in zip(("traces", "traces, untrained"), (state, untrained), errors, strict=True)
    ]
    replicates = [  # the epoch names the random vectors
        clock.time("everything", lambda epoch=epoch: measure(problem, StackState(state.tensors, epoch), SPECTRA, TASKS))
        for epoch in (0, 1)
    ]
    return Found(
        clock, memory, errors[0], estimates[0], estimates[1], [one[0] for one in replicates], peer_replicates, left_out
    )


def _gradient(network: peers.TaskNetwork) -> None:
    loss = torch.nn.functional.mse_loss(network(network.targets), network.targets)
    torch.autograd.grad(loss, list(network.parameters()))


def _errors(problem: Problem, state: StackState) -> list[float]:
    """Of 500 samples, from the deviation of 60."""
    found = traces(problem, state, "hutchinson", 60)
    return [float(sem) * math.sqrt(60 / SAMPLES) for sem in found.sem[:, 0]]
