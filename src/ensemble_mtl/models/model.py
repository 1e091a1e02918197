"""The model: a trunk, one head per task; a function of its weights."""

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
    """A stack's function; the weights are arguments, so nothing here has state.

    Attributes:
        spec: sizes and options.
        degrees: in-degrees of the training graphs, which PNA's scalers refer to.
        node_tasks: tasks predicted per node; the others are predicted per graph.
    """

    spec: ModelSpec
    degrees: DegreeStatistics
    node_tasks: frozenset[str]

    def trunk(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: GraphBatch, *, training: bool
    ) -> Features:
        """What all heads read: features of nodes and of graphs."""
        own, running = (_below(SHARED_PREFIX, named) for named in (parameters, buffers))
        config = self.spec.config
        found: Features = self.spec.trunk.forward(own, running, batch, config, self.degrees, training=training)
        return found

    def heads(
        self, parameters: Mapping[str, Tensor], features: Features, batch: GraphBatch, tasks: Iterable[str]
    ) -> Outputs:
        """Predictions per task from what :meth:`trunk` gave for ``batch``.

        Returns:
            task -> ``[M, G]`` for graph tasks, ``[M, N, B]`` for node tasks, normalised.
        """
        activation = ACTIVATIONS[self.spec.trunk.ACTIVATION]
        outputs = {}
        for task in tasks:
            h = features.nodes if task in self.node_tasks else features.graphs
            last = len(self.spec.config.heads)
            for layer in range(last):
                h = activation(named(h, parameters, f"heads.{task}.{layer}"))
            outputs[task] = named(h, parameters, f"heads.{task}.{last}").squeeze(-1)
        return outputs

    def __call__(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: GraphBatch, *, training: bool
    ) -> Outputs:
        """Predictions of every member and task (see :meth:`heads`).

        Args:
            parameters: name -> ``[M, …]``.
            buffers: name -> ``[M, …]``; running statistics, updated in place in training.
            batch: graphs with inputs already normalised.
            training: whether batch norm uses the batch's statistics.
        """
        features = self.trunk(parameters, buffers, batch, training=training)
        return self.heads(parameters, features, batch, self.spec.tasks)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


Outputs = dict[str, Tensor]
