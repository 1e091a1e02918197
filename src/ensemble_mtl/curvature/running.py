"""A rough estimate of each task's curvature in passing, for a weighting that is made of it."""

from __future__ import annotations

import torch
from torch import Tensor

from ensemble_mtl.curvature.hutchinson import rademacher
from ensemble_mtl.curvature.lanczos import gaussian, ritz, tridiagonalize
from ensemble_mtl.curvature.measure import all_forms, has_labels, hessian, probe_set
from ensemble_mtl.models.layout import stream_seed
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem


def curvature(problem: Problem, state: StackState) -> Tensor:
    """Trace, or eigenvalue of largest magnitude, of each task's Hessian: ``[M, T]``, float64, sign kept.

    How is said by the weighting's options (:mod:`ensemble_mtl.train.weighting.curvature`). The graphs are the first of
    those that the probes measure on; random vectors depend on split and epoch, not on the member or its stack.
    NaN for a task that none of them has a label of.
    """
    options = problem.config.weighting
    graphs = probe_set(problem, options.graphs)
    found = _ESTIMATES[options.of](problem, state, graphs, options.products)
    known = [has_labels(problem, task, graphs) for task in problem.model.spec.tasks]
    return torch.where(torch.tensor(known, device=found.device), found, float("nan"))


def traces(problem: Problem, state: StackState, graphs: Tensor, count: int) -> Tensor:
    """Hutchinson's estimate from ``count`` vectors, of all tasks by one pass each."""
    generator = _generator(problem, state)
    tasks, shared = problem.model.spec.tasks, state["parameters"][:, : problem.layout.num_shared]
    forms = all_forms(problem, state, tasks, graphs)
    total = shared.new_zeros(len(state), len(tasks), dtype=torch.float64)
    for _ in range(count):
        total += forms.quadratic_forms(rademacher(shared.shape[1], shared, generator)).mT
    return total / count


def eigenvalues(problem: Problem, state: StackState, graphs: Tensor, count: int) -> Tensor:
    """The largest Ritz value in magnitude after ``count`` steps of Lanczos, which is nearer than power iteration."""
    columns = []
    for task in problem.model.spec.tasks:
        operator = hessian(problem, state, task, graphs)
        generator = _generator(problem, state)  # the same for each, so that no task depends on those beside it
        values, _ = ritz(tridiagonalize(operator, gaussian(operator, generator), count))
        place = values.abs().nan_to_num(nan=-1.0).argmax(1, keepdim=True)
        columns.append(values.gather(1, place))
    return torch.cat(columns, dim=1)


def _generator(problem: Problem, state: StackState) -> torch.Generator:
    return torch.Generator().manual_seed(stream_seed("weighting", problem.stream, state.epoch))


_ESTIMATES = {"trace": traces, "eigenvalue": eigenvalues}
