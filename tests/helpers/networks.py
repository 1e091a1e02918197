"""Small networks of every trunk and convolution, after some training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.curvature import measure
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem, train_epoch
from helpers.problems import both, make, start
from helpers.stores import STORES
from helpers.trunks import with_model

TRUNKS = [name for name in registry.names("models.trunk") if name != "convolutions"]
NETWORKS = [*registry.names("models.conv"), *TRUNKS]


def uses_edges(name: str) -> bool:
    """Whether the trunk or convolution has a use for features of edges."""
    return name in TRUNKS or bool(registry.load("models.conv", name).EDGE_FEATURES)


def network(
    name: str,
    kind: str,
    members: list[int],
    *,
    epochs: int = 2,
    edges: int | None = None,
    kinds: int = 0,
    conv_options: dict[str, Any] | None = None,
    missing: float = 0.0,
    **options: Any,
) -> tuple[Problem, StackState]:
    """After some epochs, so that running statistics are no longer the initial ones.

    Args:
        name: of a trunk or convolution.
        kind: of the graphs, a key of ``STORES``.
        members: their seeds.
        epochs: of training.
        edges: features of edges; without it, two where they are of use and the store is not the open lattice.
        kinds: how many edges differ by their features; 0 for all.
        conv_options: of the convolution.
        missing: share of the graphs' labels that are absent.
        options: see :func:`helpers.problems.make`.
    """
    if edges is None:
        edges = 2 if kind != "open" and uses_edges(name) else 0
    conv = {"name": "pna" if name in TRUNKS else name, **(conv_options or {})}
    problem = make(STORES[kind](10, missing=missing), conv=conv, edge_features=edges, kinds=kinds, **options)
    if name in TRUNKS:
        problem = with_model(problem, trunk=name, width=2)
    state = start(problem, members)
    for _ in range(epochs):
        train_epoch(problem, state, both(problem, len(members)))
    return problem, state


def shared(problem: Problem, state: StackState) -> Tensor:
    """``[M, P]`` the point of the Hessians."""
    return state["parameters"][:, : problem.layout.num_shared]


def dense_hessian(problem: Problem, state: StackState, task: str, graphs: Tensor) -> Tensor:
    """``[P, P]`` of the loss of the only member in ``state``, by double backward, row k from the k-th copy of it."""
    copies = state.take([0] * problem.layout.num_shared)
    (loss,) = measure.shared_losses(problem, copies, task, graphs)
    point = shared(problem, copies).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(point).sum(), point, create_graph=True)
    (rows,) = torch.autograd.grad(gradient.diagonal().sum(), point)
    return rows


def random_like(values: Tensor) -> Tensor:
    return torch.randn(values.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(values)


def counted(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[tuple[Any, ...]]:
    """The arguments of every call of the method from now on."""
    calls: list[tuple[Any, ...]] = []
    method = getattr(owner, name)

    def noted(self: Any, *arguments: Any) -> Any:
        calls.append(arguments)
        return method(self, *arguments)

    monkeypatch.setattr(owner, name, noted)
    return calls
