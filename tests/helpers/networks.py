"""Small networks with every trunk and convolution, after a short training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.curvature import measure
from ensemble_mtl.train.loop import train_epoch
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem
from helpers.problems import both, make, start
from helpers.stores import STORES
from helpers.trunks import with_trunk

TRUNKS = [name for name in registry.names("models.trunk") if name != "convolutions"]
TRUNK_OPTIONS = {"graph_network": {"steps": 2}}
"""The fewest steps of which one follows another; 5 are the default, and take so much longer."""
NETWORKS = [*registry.names("models.conv"), *TRUNKS]


def uses_edges(name: str) -> bool:
    """Return whether the trunk or convolution uses features of edges."""
    return name in TRUNKS or bool(registry.family("models.conv").load(name).EDGE_FEATURES)


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
    """Return a problem and a state after a few epochs, when running statistics are no longer the initial ones.

    Args:
        name: name of a trunk or convolution.
        kind: kind of the graphs, a key of ``STORES``.
        members: seeds of the members.
        epochs: number of epochs of training.
        edges: number of features of an edge; if left out, two where the network uses them and the store is not the open
            lattice, else none.
        kinds: number of edges with different features; 0 if all edges differ.
        conv_options: options of the convolution.
        missing: share of the graphs' labels that are missing.
        options: further arguments of :func:`helpers.problems.make`.
    """
    if edges is None:
        edges = 2 if kind != "open" and uses_edges(name) else 0
    conv = {"name": "pna" if name in TRUNKS else name, **(conv_options or {})}
    problem = make(STORES[kind](10, missing=missing), conv=conv, edge_features=edges, kinds=kinds, **options)
    if name in TRUNKS:
        problem = with_trunk(problem, name, width=2, **TRUNK_OPTIONS.get(name, {}))
    state = start(problem, members)
    for _ in range(epochs):
        train_epoch(problem, state, both(problem, len(members)))
    return problem, state


def shared(problem: Problem, state: StackState) -> Tensor:
    """Return the shared parameters ``[M, P]``, at which Hessians are taken."""
    return state["parameters"][:, : problem.layout.num_shared]


def dense_hessian(problem: Problem, state: StackState, task: str, graphs: Tensor) -> Tensor:
    """Return the Hessian ``[P, P]`` of a task's loss for the only member of ``state``, by double backward.

    The member is copied P times, so that one backward pass gives all rows: row k comes from the k-th copy.
    """
    copies = state.take([0] * problem.layout.num_shared)
    (loss,) = measure.shared_losses(problem, copies, task, graphs)
    point = shared(problem, copies).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(point).sum(), point, create_graph=True)
    (rows,) = torch.autograd.grad(gradient.diagonal().sum(), point)
    return rows


def random_like(values: Tensor) -> Tensor:
    """Return normally distributed numbers of the same shape, type and device."""
    return torch.randn(values.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(values)


def counted(monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> list[tuple[Any, ...]]:
    """Return a list that receives the arguments of every call of the method ``name`` of ``owner`` from now on."""
    calls: list[tuple[Any, ...]] = []
    method = getattr(owner, name)

    def noted(self: Any, *arguments: Any) -> Any:
        calls.append(arguments)
        return method(self, *arguments)

    monkeypatch.setattr(owner, name, noted)
    return calls
