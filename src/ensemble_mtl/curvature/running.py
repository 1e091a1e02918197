"""A rough estimate of each task's curvature during training, for a weighting of the tasks by their curvature."""

from __future__ import annotations

import torch
from torch import Tensor

from ensemble_mtl.curvature.lanczos import gaussian_start, ritz_pairs, tridiagonalize
from ensemble_mtl.curvature.measure import all_forms, has_labels, hessian, probe_set
from ensemble_mtl.curvature.sampling import rademacher
from ensemble_mtl.models.layout import stream_seed
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem


def curvature(problem: Problem, state: StackState) -> Tensor:
    """``[M, T]`` trace, or eigenvalue of largest magnitude with its sign, of each task's Hessian; float64.

    Which of both it is, and from how many graphs and products, is among the weighting's options
    (:mod:`ensemble_mtl.train.weighting.curvature`). The graphs are the first of those on which probes measure. Random
    vectors depend on split and epoch, not on the member or its stack. A task without a label in these graphs has NaN.
    """
    options = problem.config.weighting
    graphs = probe_set(problem, options.graphs)
    estimates = _ESTIMATORS[options.of](problem, state, graphs, options.products)
    labelled = [has_labels(problem, task, graphs) for task in problem.model.spec.tasks]
    return torch.where(torch.tensor(labelled, device=estimates.device), estimates, float("nan"))


def traces(problem: Problem, state: StackState, graphs: Tensor, count: int) -> Tensor:
    """``[M, T]`` Hutchinson's estimate of the traces from ``count`` vectors; a pass per vector serves all tasks."""
    generator = _generator(problem, state)
    tasks, shared = problem.model.spec.tasks, state["parameters"][:, : problem.layout.num_shared]
    forms = all_forms(problem, state, tasks, graphs)
    total = shared.new_zeros(len(state), len(tasks), dtype=torch.float64)
    for _ in range(count):
        total += forms.quadratic_forms(rademacher(shared.shape[1], shared, generator)).mT
    return total / count


def eigenvalues(problem: Problem, state: StackState, graphs: Tensor, count: int) -> Tensor:
    """``[M, T]`` the Ritz value of largest magnitude after ``count`` steps of Lanczos.

    It is nearer to the eigenvalue than what as many steps of power iteration give.
    """
    columns = []
    for task in problem.model.spec.tasks:
        operator = hessian(problem, state, task, graphs)
        generator = _generator(problem, state)  # anew for each task, so that no task depends on those before it
        values, _ = ritz_pairs(tridiagonalize(operator, gaussian_start(operator, generator), count))
        place = values.abs().nan_to_num(nan=-1.0).argmax(1, keepdim=True)
        columns.append(values.gather(1, place))
    return torch.cat(columns, dim=1)


def _generator(problem: Problem, state: StackState) -> torch.Generator:
    return torch.Generator().manual_seed(stream_seed("weighting", problem.stream, state.epoch))


_ESTIMATORS = {"trace": traces, "eigenvalue": eigenvalues}
