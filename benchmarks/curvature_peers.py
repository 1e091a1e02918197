"""The benchmark's network in the form that PyHessian and curvlinops need, and calls of these packages."""

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
        state: a stack of one member.
        task: the task whose head is used.
        size: number of graphs in the probe set.
    """

    def __init__(self, problem: Problem, state: StackState, task: str, size: int) -> None:
        super().__init__()
        named = problem.layout.unflatten(state["parameters"].detach())
        num_shared = problem.layout.num_shared
        self._names, num_before = [], 0
        self._fixed = {}
        self.shared = nn.ParameterList()
        for name, values in named.items():
            if num_before < num_shared:  # shared parameters come first
                self._names.append(name)
                self.shared.append(nn.Parameter(values.clone()))
            else:
                self._fixed[name] = values.clone()
            num_before += values.numel()
        self._problem, self._task = problem, task
        self._buffers_of_member = problem.buffers.unflatten(state["buffers"])
        self.graphs = problem.table.batch(probe_set(problem, size))
        self.targets = self.graphs.targets[task]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the predictions ``[G]``; ``inputs`` only stand for the graphs, which are always the same."""
        parameters = {**self._fixed, **dict(zip(self._names, self.shared, strict=True))}
        model = self._problem.model
        features = model.trunk(parameters, self._buffers_of_member, self.graphs, training=False)
        return model.heads(parameters, features, self.graphs, [self._task])[self._task][0]


def missing() -> list[str]:
    """Return a line for each package that is not installed."""
    return [
        f"{package} is not installed here; it was left out."
        for package in ("pyhessian", "curvlinops")
        if importlib.util.find_spec(package) is None
    ]


def pyhessian(network: TaskNetwork) -> tuple[Callable[[int], list[float]], Callable[[int], tuple[float, float]]]:
    """Start PyHessian on the network.

    Returns:
        a function from n to the quadratic forms of n random vectors, and a function from n to ‖H‖_F and the largest
        eigenvalue by PyHessian's spectral density of n steps.
    """
    from pyhessian import hessian

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about create_graph
        computation = hessian(network, nn.functional.mse_loss, data=(network.targets, network.targets), cuda=False)
    size = sum(p.numel() for p in network.parameters())

    def density(steps: int) -> tuple[float, float]:
        former = getattr(torch, "eig", None)
        torch.eig = _eig  # type: ignore[attr-defined]  # PyHessian calls it, and torch has none since 2.0
        try:
            nodes, weights = computation.density(iter=steps, n_v=1)
        finally:
            if former is None:
                del torch.eig  # type: ignore[attr-defined]
        # ‖H‖_F² = tr H² = P Σ w θ² over the nodes θ and weights w of the density
        mean_square = sum(w * x * x for x, w in zip(nodes[0], weights[0], strict=True))
        return (size * mean_square) ** 0.5, max(nodes[0])

    return lambda samples: computation.trace(maxIter=samples, tol=0.0), density


def _eig(matrix: Tensor, eigenvectors: bool) -> tuple[Tensor, Tensor]:
    """Return eigenvalues ``[n, 2]``, real and imaginary, and eigenvectors, as ``torch.eig`` did before torch 2.0."""
    values, vectors = torch.linalg.eigh(matrix)
    return torch.stack([values, torch.zeros_like(values)], dim=1), vectors


def curvlinops(network: TaskNetwork) -> Callable[[int], object]:
    """Start curvlinops on the network; return a function from n to its product with n vectors at once."""
    from curvlinops import HessianLinearOperator

    parameters = [p for p in network.parameters() if p.requires_grad]
    operator = HessianLinearOperator(
        network, nn.MSELoss(), parameters, [(network.targets, network.targets)], check_deterministic=False
    )
    size = sum(p.numel() for p in parameters)
    return lambda columns: operator @ torch.randn(size, columns)
