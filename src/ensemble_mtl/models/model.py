"""The model: a trunk that all tasks share, and one head per task, as a function of its weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ensemble_mtl.core.runtime.rounding import elementwise
from ensemble_mtl.data.batch import GraphBatch
from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.models.linear import named
from ensemble_mtl.models.spec import SHARED_PREFIX, ModelSpec
from ensemble_mtl.models.trunk.base import Features

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": partial(elementwise, torch.tanh),
}


@dataclass(frozen=True)
class Model:
    """The function that a stack of members computes. Weights are its arguments, so that it has no state.

    Attributes:
        spec: sizes and options.
        degrees: statistics of the in-degrees of the training graphs, which PNA's scalers refer to.
        node_tasks: tasks that are predicted per node; all others are predicted per graph.
    """

    spec: ModelSpec
    degrees: DegreeStatistics
    node_tasks: frozenset[str]

    def trunk(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: GraphBatch, *, training: bool
    ) -> Features:
        """Features of nodes and of graphs, which the heads read; arguments as for :meth:`__call__`."""
        own, running = (_below(SHARED_PREFIX, named) for named in (parameters, buffers))
        options = self.spec.config.trunk
        return self.spec.trunk.forward(own, running, batch, options, self.degrees, training=training)

    def heads(
        self, parameters: Mapping[str, Tensor], features: Features, batch: GraphBatch, tasks: Iterable[str]
    ) -> Outputs:
        """Predictions of the heads of some tasks.

        Args:
            parameters: name -> ``[M, …]``.
            features: what :meth:`trunk` returned for the batch.
            batch: the graphs.
            tasks: the tasks whose heads are evaluated.

        Returns:
            task -> ``[M, G]`` for graph tasks, ``[M, N, B]`` for node tasks, in normalised units.
        """
        activation = ACTIVATIONS[self.spec.trunk.ACTIVATION]
        outputs = {}
        for task in tasks:
            hidden = features.nodes if task in self.node_tasks else features.graphs
            last = len(self.spec.config.heads)
            for layer in range(last):
                hidden = activation(named(hidden, parameters, f"heads.{task}.{layer}"))
            outputs[task] = named(hidden, parameters, f"heads.{task}.{last}").squeeze(-1)
        return outputs

    def __call__(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: GraphBatch, *, training: bool
    ) -> Outputs:
        """Predictions of every member and task.

        Args:
            parameters: name -> ``[M, …]``.
            buffers: name -> ``[M, …]``; running statistics, which change in place in training.
            batch: graphs whose inputs are normalised.
            training: whether batch norm uses the batch's statistics, and not the running ones.

        Returns:
            task -> ``[M, G]`` for graph tasks, ``[M, N, B]`` for node tasks, in normalised units.
        """
        features = self.trunk(parameters, buffers, batch, training=training)
        return self.heads(parameters, features, batch, self.spec.tasks)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with the prefix, under the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


Outputs = dict[str, Tensor]
"""Task -> predictions ``[M, G]`` or ``[M, N, B]``."""
