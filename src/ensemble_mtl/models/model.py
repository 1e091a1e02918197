"""The model: trunk of convolutions, pooling, one head per task; a function of its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble_mtl.data.batch import GraphBatch
from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.models.linear import named
from ensemble_mtl.models.norm import batch_norm
from ensemble_mtl.models.spec import ModelSpec


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
    ) -> Tensor:
        """Node features ``[M, N, B, width]`` after the last convolution."""
        conv, options = self.spec.conv, self.spec.config.conv
        x = batch.x
        if self.spec.embeds:
            x = named(x, parameters, "trunk.embed")
        for layer in range(self.spec.config.layers):
            prefix = f"trunk.{layer}."
            own = {name.removeprefix(f"{prefix}conv."): p for name, p in parameters.items() if name.startswith(prefix)}
            x = conv.forward(own, x, batch.topology, options, self.degrees)
            x = torch.relu(batch_norm(x, parameters, buffers, f"{prefix}norm", training=training))
        return x

    def heads(self, parameters: Mapping[str, Tensor], x: Tensor, batch: GraphBatch, tasks: Iterable[str]) -> Outputs:
        """Predictions per task from the trunk's node features.

        Returns:
            task -> ``[M, G]`` for graph tasks, ``[M, N, B]`` for node tasks, normalised.
        """
        pooled: Tensor | None = None
        outputs = {}
        for task in tasks:
            if task in self.node_tasks:
                h = x
            else:
                pooled = batch.pool(x, self.spec.config.pooling) if pooled is None else pooled
                h = pooled
            last = len(self.spec.config.heads)
            for layer in range(last):
                h = torch.relu(named(h, parameters, f"heads.{task}.{layer}"))
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
        x = self.trunk(parameters, buffers, batch, training=training)
        return self.heads(parameters, x, batch, self.spec.tasks)


Outputs = dict[str, Tensor]
