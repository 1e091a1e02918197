"""One member as a plain PyG module, for use without stacks; tests and benchmarks compare with it.

Its parameters have the names that they have in the stack, so that a member's row of the flat matrix can be loaded as a
``state_dict``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch_geometric.data import Batch
from torch_geometric.nn import global_add_pool, global_mean_pool

from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.models.layout import Layout
from ensemble_mtl.models.spec import ModelSpec

Pooling = Literal["mean", "sum"]


class ReferenceModel(nn.Module):
    """One member, built from the layers of PyG and torch; made by :func:`reference_model`."""

    def __init__(
        self, spec: ModelSpec, degrees: DegreeStatistics, node_tasks: frozenset[str], pooling: Pooling
    ) -> None:
        super().__init__()
        self.node_tasks, self.activation = node_tasks, getattr(torch, spec.trunk.ACTIVATION)
        self.pool = global_mean_pool if pooling == "mean" else global_add_pool
        self.trunk = spec.trunk.reference(spec.in_features, spec.edge_features, spec.config.trunk, degrees)
        sizes = (spec.config.trunk.width, *spec.config.heads, 1)
        self.heads = nn.ModuleDict(
            {task: nn.ModuleList([nn.Linear(*pair) for pair in itertools.pairwise(sizes)]) for task in spec.tasks}
        )

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Predictions for ``batch``: task -> ``[G]`` (graph level) or ``[N]`` (node level), normalised."""
        nodes, graphs = self.trunk(batch)
        if graphs is None:
            graphs = self.pool(nodes, batch.batch, size=len(batch.ptr) - 1)
        return {task: self._head(task, nodes if task in self.node_tasks else graphs) for task in self.heads}

    def _head(self, task: str, h: Tensor) -> Tensor:
        *hidden, last = cast("nn.ModuleList", self.heads[task])
        for layer in hidden:
            h = self.activation(layer(h))
        return cast("Tensor", last(h).squeeze(-1))


def reference_model(
    spec: ModelSpec,
    degrees: DegreeStatistics,
    node_tasks: frozenset[str],
    pooling: Pooling,
    dtype: torch.dtype = torch.float32,
) -> ReferenceModel:
    """The plain PyG model that computes the same function as a member of a stack.

    Args:
        spec: sizes and options.
        degrees: in-degrees of the training graphs.
        node_tasks: tasks predicted per node.
        pooling: how graph features are made from node features, if the trunk makes none.
        dtype: floating type of weights and constants. A module that is cast afterwards keeps constants that were
            rounded before.

    Returns:
        a module whose ``forward`` takes a PyG ``Batch`` with normalised inputs.
    """
    with _default_dtype(dtype):
        return ReferenceModel(spec, degrees, node_tasks, pooling)


def member_state_dict(
    layout: Layout, buffers_layout: Layout, parameters: Tensor, buffers: Tensor, row: int
) -> dict[str, Tensor]:
    """One member's ``state_dict`` for :func:`reference_model`, copied out of its stack.

    Args:
        layout: where in a row the parameters stand.
        buffers_layout: where in a row the running statistics stand.
        parameters: ``[M, P]`` parameters of the stack.
        buffers: ``[M, Q]`` running statistics of the stack.
        row: number of the member in its stack.

    Returns:
        name -> tensor without the member axis. ``num_batches_tracked`` is 0: stacks do not
        count batches, and torch uses the count only for cumulative averages.
    """
    weights = layout.unflatten(parameters[row : row + 1].detach().clone())
    running = buffers_layout.unflatten(buffers[row : row + 1].detach().clone())
    state = {name: value[0] for name, value in {**weights, **running}.items()}
    counts = [name.replace("running_mean", "num_batches_tracked") for name in running if name.endswith("running_mean")]
    return {**state, **{name: torch.zeros((), dtype=torch.int64) for name in counts}}


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Tensors that are made inside have this floating type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
