"""What every trunk offers: names and shapes of the shared parameters, and their function on a stack of members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from pydantic import PositiveInt

from ensemble_mtl.config import registry
from ensemble_mtl.config.checked import Mistake

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.config.study import StudyConfig
    from ensemble_mtl.data.batch import GraphBatch
    from ensemble_mtl.data.degrees import DegreeStatistics
    from ensemble_mtl.models.spec import Specs


class Features(NamedTuple):
    """What heads read.

    Attributes:
        nodes: ``[M, N, B, width]``, by heads of node tasks.
        graphs: ``[M, G, width]``, by heads of graph tasks.
    """

    nodes: Tensor
    graphs: Tensor


class TrunkOptions(registry.Options):
    """Options of every trunk; each has a default width of its own."""

    width: PositiveInt
    """Features that the trunk gives each node and each graph, and that the heads read."""

    def edges_unused(self) -> str:
        """Why it has no use for features of edges, and what to choose instead; empty if it uses them."""
        return ""

    def misfits(self, study: StudyConfig) -> Iterator[Mistake]:
        """Features of edges that are asked for, and of no use."""
        features = {("model", "edge_basis"): study.model.edge_basis, ("graph", "bonds"): study.graph.bonds}
        for key, value in features.items():
            if value is not None and (reason := self.edges_unused()):
                yield Mistake(key, f"{reason}, or leave it out", value)


class Trunk(Protocol):
    """A module with one kind of trunk; importing it does not load torch.

    ``forward`` minds ``topology.is_separated`` as :mod:`ensemble_mtl.models.conv.base` says.
    """

    Options: type[TrunkOptions]
    ACTIVATION: Literal["relu", "tanh"]
    """Between the layers of the heads."""

    def parameters(self, in_features: int, edge_features: int, options: Any) -> Specs:
        """Names (without ``trunk.``) and shapes, without the member axis; ``edge_features`` is 0 if there are none."""

    def buffers(self, options: Any) -> Specs:
        """The same for running statistics, which are not trained."""

    def forward(
        self,
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        batch: GraphBatch,
        options: Any,
        degrees: DegreeStatistics,
        *,
        training: bool,
    ) -> Features:
        """Features of every node and graph, with parameters and buffers ``[M, …]``; buffers change in training."""

    def reference(
        self, in_features: int, edge_features: int, options: Any, degrees: DegreeStatistics
    ) -> torch.nn.Module:
        """The same function of one member and a PyG ``Batch``, with the parameters' and buffers' names.

        It gives features of nodes ``[N, F]`` and of graphs ``[G, F]``, or None for these if they are pooled from nodes.
        """


FAMILY = registry.Family[Trunk]("models.trunk", Trunk)
