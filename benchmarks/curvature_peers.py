"""The benchmark's network as PyHessian and curvlinops want it, and what they make of it."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ensemble_mtl.curvature.measure import probe_set
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem


class TaskNetwork(nn.Module):
    """One task of one member on the probe set: its parameters are the shared ones, its output the predictions ``[G]``.

    Args:
        problem: model and data.
        state: one member.
        task: whose head.
        size: graphs of the probe set.
    """

    def __init__(self, problem: Problem, state: StackState, task: str, size: int) -> None:
        super().__init__()
        named = problem.layout.unflatten(state["parameters"].detach())
        heads = problem.layout.num_shared
        self._names, taken = [], 0
        self._fixed = {}
        self.shared = nn.ParameterList()
        for name, values in named.items():
            if taken < heads:
                self._names.append(name)
                self.shared.append(nn.Parameter(values.clone()))
            else:
                self._fixed[name] = values.clone()
            taken += values.numel()
        self._problem, self._task = problem, task
        self._buffers_of_member = problem.buffers.unflatten(state["buffers"])
        self.graphs = problem.table.batch(probe_set(problem, size))
        self.targets = self.graphs.targets[task]

    def forward(self, inputs: Tensor) -> Tensor:
        """``inputs`` only stand for the graphs."""
        parameters = {**self._fixed, **dict(zip(self._names, self.shared, strict=True))}
        model = self._problem.model
        features = model.trunk(parameters, self._buffers_of_member, self.graphs, training=False)
        return model.heads(parameters, features, self.graphs, [self._task])[self._task][0]


def missing() -> list[str]:
    """A line for each peer that is not installed."""
    return [
        f"{package} is not installed here; it was left out."
        for package in ("pyhessian", "curvlinops")
        if importlib.util.find_spec(package) is None
    ]


def pyhessian(network: TaskNetwork) -> tuple[Callable[[int], list[float]], Callable[[int], tuple[float, float]]]:
    """PyHessian on the network.

    Returns:
        n to the forms of n random vectors, and n to ‖H‖_F and largest eigenvalue from its density of n steps.
    """
    from pyhessian import hessian

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about create_graph
        found = hessian(network, nn.functional.mse_loss, data=(network.targets, network.targets), cuda=False)
    size = sum(p.numel() for p in network.parameters())

    def density(steps: int) -> tuple[float, float]:
        former = getattr(torch, "eig", None)
        torch.eig = _eig  # type: ignore[attr-defined]  # of 2019, gone since torch 2.0; it cannot run without
        try:
            nodes, weights = found.density(iter=steps, n_v=1)
        finally:
            if former is None:
                del torch.eig  # type: ignore[attr-defined]
        square = sum(w * x * x for x, w in zip(nodes[0], weights[0], strict=True))
        return (size * square) ** 0.5, max(nodes[0])

    return lambda samples: found.trace(maxIter=samples, tol=0.0), density


def _eig(matrix: Tensor, eigenvectors: bool) -> tuple[Tensor, Tensor]:
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], dim=1), vectors


def curvlinops(network: TaskNetwork) -> Callable[[int], object]:
    """Curvlinops on the network: n to its products with n vectors at once."""
    from curvlinops import HessianLinearOperator

    parameters = [p for p in network.parameters() if p.requires_grad]
    operator = HessianLinearOperator(
        network, nn.MSELoss(), parameters, [(network.targets, network.targets)], check_deterministic=False
    )
    size = sum(p.numel() for p in parameters)
    return lambda columns: operator @ torch.randn(size, columns)
