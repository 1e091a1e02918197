"""Curvature of every task's loss, for a stack at its present weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import ProbeConfig
from ensemble_mtl.core.runtime.devices import free_bytes
from ensemble_mtl.curvature.forms.quadratic import JetForms, ProductForms, quadratic_forms
from ensemble_mtl.curvature.hutchinson import rademacher
from ensemble_mtl.curvature.losses import CHUNK, Reduction, residuals, shared_losses
from ensemble_mtl.curvature.operator import HessianOperator
from ensemble_mtl.curvature.spectrum import Spectrum, pairs
from ensemble_mtl.models.layout import stream_seed
from ensemble_mtl.study.results import ProbeResult
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem, num_labels

BASES = 2**30
"""Bytes that the Lanczos bases of a worker may take."""


def probe_set(problem: Problem, size: int) -> Tensor:
    """The fixed training graphs on which curvature is measured, the same for every member."""
    generator = torch.Generator().manual_seed(stream_seed("probe set", problem.stream))
    order = torch.randperm(len(problem.train), generator=generator)[:size]
    return problem.train[order.sort().values.to(problem.train.device)]


def measure(
    problem: Problem,
    state: StackState,
    config: ProbeConfig,
    tasks: Sequence[str],
    tell: Callable[[str], None] = lambda step: None,
) -> list[list[ProbeResult]]:
    """Trace and spectral density of each task's Hessian with respect to the shared parameters.

    Heads are held fixed and batch norm uses its running statistics, so that graphs do not
    couple. Random vectors depend on split, task and epoch, not on the member or its stack; those
    of the trace not on the task either.

    Args:
        problem: model and data.
        state: M members.
        config: how to measure.
        tasks: whose losses.
        tell: told of each of the T + 1 steps when it begins.

    Returns:
        for each member, one result per task that has a label in the probe set.
    """
    graphs = probe_set(problem, config.graphs)
    tasks = [task for task in tasks if has_labels(problem, task, graphs)]
    if not tasks:
        return [[] for _ in range(len(state))]
    parts = torch.arange(len(state)).split(_at_once(problem, state, config))
    found = [_measure(problem, state.take(part.tolist()), config, tasks, graphs, tell) for part in parts]
    return [member for part in found for member in part]


def _at_once(problem: Problem, state: StackState, config: ProbeConfig) -> int:
    """Members whose Lanczos bases fit into memory together; what is found does not depend on it."""
    like = state["parameters"]
    room = free_bytes(like.device) // 4 if like.is_cuda else BASES
    return max(1, room // (config.lanczos_steps * problem.layout.num_shared * like.element_size()))


def _measure(
    problem: Problem,
    state: StackState,
    config: ProbeConfig,
    tasks: Sequence[str],
    graphs: Tensor,
    tell: Callable[[str], None],
) -> list[list[ProbeResult]]:
    spectra = []
    for task in tasks:
        tell(f"spectrum of {task}")
        spectra.append(_spectrum(problem, state, config, task, graphs))
    tell("traces")
    started = time.perf_counter()
    forms = all_forms(problem, state, tasks, graphs, config.reduction)
    norms = torch.stack([one.norm for one in spectra])
    controls = [one.control for one in spectra]
    estimator = registry.load("curvature.trace", config.trace.name)
    trace = estimator.estimate(
        config.trace, _signs(problem, state, config), config.trace_samples, forms, controls, norms
    )
    share = (time.perf_counter() - started) / len(tasks)
    alike = pairs(dict(zip(tasks, spectra, strict=True)))
    return [
        [
            ProbeResult(
                task=task,
                epoch=state.epoch,
                num_parameters=problem.layout.num_shared,
                num_graphs=len(graphs),
                reduction=config.reduction,
                seconds=(one.seconds + share) / len(state),
                trace_seconds=share / len(state),
                num_matvecs=one.num_products + int(trace.samples[t, m]),
                pairs=alike[m][task],
                **trace.values(t, m),
                **one.values(m),
            )
            for t, (task, one) in enumerate(zip(tasks, spectra, strict=True))
        ]
        for m in range(len(state))
    ]


def has_labels(problem: Problem, task: str, graphs: Tensor) -> bool:
    """Whether any of the ``graphs`` has a label of the task; without one its curvature is not 0, but unknown."""
    batch = problem.table.batch(graphs)
    return bool(num_labels(batch.targets[task], batch.labelled.get(task)))


def _spectrum(problem: Problem, state: StackState, config: ProbeConfig, task: str, graphs: Tensor) -> Spectrum:
    started = time.perf_counter()
    operator = hessian(problem, state, task, graphs, config.reduction)
    generator = torch.Generator().manual_seed(stream_seed("probe", problem.stream, task, state.epoch))
    estimator = registry.load("curvature.density", config.density.name)
    density = estimator.estimate(config.density, config.lanczos_steps, config.lanczos_starts, operator, generator)
    trace = registry.load("curvature.trace", config.trace.name)
    control = trace.control(config.trace, density.first, _signs(problem, state, config))
    return Spectrum.of(operator, density, config.leading, control, started)


def all_forms(
    problem: Problem, state: StackState, tasks: Sequence[str], graphs: Tensor, reduction: Reduction = "mean"
) -> JetForms | ProductForms:
    """vᵀHv of every task's Hessian with respect to the shared parameters (:mod:`ensemble_mtl.curvature.forms`)."""
    return quadratic_forms(
        list(residuals(problem, state, tasks, graphs, CHUNK, reduction)),
        len(tasks),
        state["parameters"][:, : problem.layout.num_shared],
        lambda: residuals(problem, state, tasks, graphs, 1, reduction),
        lambda: [hessian(problem, state, task, graphs, reduction) for task in tasks],
    )


def hessian(
    problem: Problem, state: StackState, task: str, graphs: Tensor, reduction: Reduction = "mean"
) -> HessianOperator:
    """The task's Hessian with respect to the shared parameters."""
    shared = state["parameters"][:, : problem.layout.num_shared]
    return HessianOperator(shared_losses(problem, state, task, graphs, reduction), shared)


def _signs(problem: Problem, state: StackState, config: ProbeConfig) -> Iterator[Tensor]:
    """The trace's vectors ``[1, P]``, made anew each time they are gone over."""
    generator = torch.Generator().manual_seed(stream_seed("probe signs", problem.stream, state.epoch))
    shared = state["parameters"][:, : problem.layout.num_shared]
    for _ in range(config.trace_samples):
        yield rademacher(shared.shape[1], shared, generator)
