"""Curvature of every task's loss, for a stack at its present weights."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from ensemble_mtl.models.layout import stream_seed
from ensemble_mtl.probes import hutchinson, lanczos
from ensemble_mtl.probes.operator import HessianOperator, LossFunction
from ensemble_mtl.results import ProbeResult
from ensemble_mtl.sections import ProbeConfig
from ensemble_mtl.train.loss import task_losses
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem, num_labels

CHUNK = 64
"""Graphs per kept gradient graph; it bounds memory and changes no result beyond rounding."""


def probe_set(problem: Problem, size: int) -> Tensor:
    """The fixed training graphs on which curvature is measured, the same for every member."""
    generator = torch.Generator().manual_seed(stream_seed("probe set", problem.stream))
    order = torch.randperm(len(problem.train), generator=generator)[:size]
    return problem.train[order.sort().values.to(problem.train.device)]


def measure(problem: Problem, state: StackState, config: ProbeConfig, tasks: Sequence[str]) -> list[list[ProbeResult]]:
    """Trace and spectral density of each task's Hessian with respect to the shared parameters.

    Heads are held fixed and batch norm uses its running statistics, so that graphs do not
    couple. Random vectors depend on split, task and epoch, not on the member or its stack.

    Returns:
        for each member, one result per task.
    """
    graphs = probe_set(problem, config.graphs)
    found: list[list[ProbeResult]] = [[] for _ in range(len(state))]
    for task in tasks:
        for results, result in zip(found, _measure_task(problem, state, config, task, graphs), strict=True):
            results.append(result)
    return found


def _measure_task(
    problem: Problem, state: StackState, config: ProbeConfig, task: str, graphs: Tensor
) -> list[ProbeResult]:
    started = time.perf_counter()
    shared = state["parameters"][:, : problem.layout.num_shared]
    operator = HessianOperator(shared_losses(problem, state, task, graphs), shared)
    generator = torch.Generator().manual_seed(stream_seed("probe", problem.stream, task, state.epoch))
    traces = hutchinson.trace(operator, config.trace_samples, generator)
    density = lanczos.density(operator, config.lanczos_steps, config.lanczos_starts, generator)
    seconds = (time.perf_counter() - started) / len(state)
    nodes = density.nodes.cpu()
    return [
        ProbeResult(
            task=task,
            epoch=state.epoch,
            num_parameters=problem.layout.num_shared,
            num_graphs=len(graphs),
            loss=float(operator.loss[m]),
            trace=float(traces.mean[m]),
            trace_sem=float(traces.sem[m]),
            trace_samples=config.trace_samples,
            eig_min=float(nodes[m].nan_to_num(nan=float("inf")).min()),
            eig_max=float(nodes[m].nan_to_num(nan=-float("inf")).max()),
            orthogonality=float(density.orthogonality[m]),
            num_matvecs=config.trace_samples + config.lanczos_starts * density.nodes.shape[2],
            seconds=seconds,
            nodes=nodes[m].numpy(),
            weights=density.weights[m].cpu().numpy(),
        )
        for m in range(len(state))
    ]


def shared_losses(problem: Problem, state: StackState, task: str, graphs: Tensor) -> list[LossFunction]:
    """The task's loss as a function of the shared parameters ``[M, P_sh]``, in chunks.

    The chunks' losses sum to the mean over the labels of ``graphs``.
    """
    batches = [problem.table.batch(some) for some in graphs.split(CHUNK)]
    labels = [num_labels(batch.targets[task], batch.labelled.get(task)) for batch in batches]
    total = torch.stack(labels).sum().clamp(min=1)
    buffers = problem.buffers.unflatten(state["buffers"])
    heads = state["parameters"][:, problem.layout.num_shared :].detach()

    def loss(index: int, shared: Tensor) -> Tensor:
        batch = batches[index]
        parameters = problem.layout.unflatten(torch.cat([shared, heads], dim=1))
        x = problem.model.trunk(parameters, buffers, batch, training=False)
        outputs = problem.model.heads(parameters, x, batch, [task])
        return task_losses(outputs, batch, [task])[:, 0] * (labels[index] / total).to(shared.dtype)

    return [partial(loss, index) for index in range(len(batches))]
