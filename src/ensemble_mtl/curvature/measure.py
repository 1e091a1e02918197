"""A probe: trace and spectrum of the Hessian of every task's loss, for a stack of members at its present weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ensemble_mtl.config.sections import ProbeConfig
from ensemble_mtl.core.runtime.devices import free_bytes
from ensemble_mtl.curvature.density import base as densities
from ensemble_mtl.curvature.forms.quadratic import JetForms, ProductForms, quadratic_forms
from ensemble_mtl.curvature.losses import CHUNK, Reduction, residuals, shared_losses
from ensemble_mtl.curvature.operator import HessianOperator
from ensemble_mtl.curvature.sampling import rademacher
from ensemble_mtl.curvature.spectrum import Spectrum, compare_tasks
from ensemble_mtl.curvature.trace import base as traces
from ensemble_mtl.models.layout import stream_seed
from ensemble_mtl.study.results import ProbeResult
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem, num_labels

MAX_BASIS_BYTES = 2**30
"""Memory that the Lanczos bases of a worker may take on a CPU."""


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

    Heads are held fixed and batch norm uses its running statistics, so that graphs do not couple. The random vectors
    of a spectrum depend on split, task and epoch, not on the member or its stack; those of the trace do not depend on
    the task either.

    Args:
        problem: model and data.
        state: M members.
        config: estimators, and the numbers of graphs and products.
        tasks: the tasks whose losses are probed.
        tell: is called with the name of each of the T + 1 steps when it begins.

    Returns:
        for each member, one result per task that has a label in the probe set.
    """
    graphs = probe_set(problem, config.graphs)
    tasks = [task for task in tasks if has_labels(problem, task, graphs)]
    if not tasks:
        return [[] for _ in range(len(state))]
    parts = torch.arange(len(state)).split(_members_at_once(problem, state, config))
    results = [_measure(problem, state.take(part.tolist()), config, tasks, graphs, tell) for part in parts]
    return [of_member for of_part in results for of_member in of_part]


def _members_at_once(problem: Problem, state: StackState, config: ProbeConfig) -> int:
    """Number of members whose Lanczos bases fit into memory together; results do not depend on it."""
    parameters = state["parameters"]
    room = free_bytes(parameters.device) // 4 if parameters.is_cuda else MAX_BASIS_BYTES
    return max(1, room // (config.lanczos_steps * problem.layout.num_shared * parameters.element_size()))


def _measure(
    problem: Problem,
    state: StackState,
    config: ProbeConfig,
    tasks: Sequence[str],
    graphs: Tensor,
    tell: Callable[[str], None],
) -> list[list[ProbeResult]]:
    """:func:`measure` for members whose Lanczos bases fit into memory together, and for tasks that have a label."""
    spectra = []
    for task in tasks:
        tell(f"spectrum of {task}")
        spectra.append(_spectrum(problem, state, config, task, graphs))
    tell("traces")
    started = time.perf_counter()
    forms = all_forms(problem, state, tasks, graphs, config.reduction)
    norms = torch.stack([spectrum.norm for spectrum in spectra])
    controls = [one.control for one in spectra]
    estimator = traces.FAMILY.of(config.trace)
    trace = estimator.estimate(
        config.trace, _signs(problem, state, config), config.trace_samples, forms, controls, norms
    )
    share = (time.perf_counter() - started) / len(tasks)
    pairs = compare_tasks(dict(zip(tasks, spectra, strict=True)))
    return [
        [
            ProbeResult(
                task=task,
                epoch=state.epoch,
                num_parameters=problem.layout.num_shared,
                num_graphs=len(graphs),
                reduction=config.reduction,
                seconds=(spectrum.seconds + share) / len(state),
                trace_seconds=share / len(state),
                num_matvecs=spectrum.num_products + int(trace.samples[t, m]),
                pairs=pairs[m][task],
                **trace.values(t, m),
                **spectrum.values(m),
            )
            for t, (task, spectrum) in enumerate(zip(tasks, spectra, strict=True))
        ]
        for m in range(len(state))
    ]


def has_labels(problem: Problem, task: str, graphs: Tensor) -> bool:
    """Whether any of the ``graphs`` has a label of the task. Without one, its curvature is not 0 but unknown."""
    batch = problem.table.batch(graphs)
    return bool(num_labels(batch.targets[task], batch.labelled.get(task)))


def _spectrum(problem: Problem, state: StackState, config: ProbeConfig, task: str, graphs: Tensor) -> Spectrum:
    """Estimates of the task's Hessian, and what they say of its trace."""
    started = time.perf_counter()
    operator = hessian(problem, state, task, graphs, config.reduction)
    generator = torch.Generator().manual_seed(stream_seed("probe", problem.stream, task, state.epoch))
    estimator = densities.FAMILY.of(config.density)
    density = estimator.estimate(config.density, config.lanczos_steps, config.lanczos_starts, operator, generator)
    control = traces.FAMILY.of(config.trace).control_variate(
        config.trace, density.first, _signs(problem, state, config)
    )
    return Spectrum.of(operator, density, config.leading, control, started)


def all_forms(
    problem: Problem, state: StackState, tasks: Sequence[str], graphs: Tensor, reduction: Reduction = "mean"
) -> JetForms | ProductForms:
    """Quadratic forms vᵀHv of every task's Hessian with respect to the shared parameters."""
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
    """Random sign vectors ``[1, P]`` for the trace: the same ones at every call, each made when it is taken."""
    generator = torch.Generator().manual_seed(stream_seed("probe signs", problem.stream, state.epoch))
    shared = state["parameters"][:, : problem.layout.num_shared]
    for _ in range(config.trace_samples):
        yield rademacher(shared.shape[1], shared, generator)
