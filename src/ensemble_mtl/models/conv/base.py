"""What every convolution offers: names and shapes of its parameters, and its function on a stack of members.

Where ``topology.is_separated``, ``forward`` must apply every parameter to rows as it stands, so that
probes can tell the gradients of single graphs apart in one pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ensemble_mtl.config import registry

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.data.degrees import DegreeStatistics
    from ensemble_mtl.data.topology import Topology
    from ensemble_mtl.models.spec import Specs


class Convolution(Protocol):
    """A module with one of PyG's layers, lifted to stacks; importing it does not load torch."""

    Options: type[registry.Options]
    EDGE_FEATURES: bool
    """Whether it uses features of edges."""
    EQUAL_WIDTH: bool
    """Whether it keeps the number of features, so that the input of the first layer is lifted beforehand."""

    def parameters(self, fan_in: int, fan_out: int, edge_features: int, options: Any) -> Specs:
        """Names and shapes, without the member axis and without torch; ``edge_features`` is 0 if there are none."""

    def forward(
        self, parameters: Mapping[str, Tensor], x: Tensor, topology: Topology, options: Any, degrees: DegreeStatistics
    ) -> Tensor:
        """``x [M or 1, N, B, F_in]`` to ``[M, N, B, F_out]``, with parameters ``[M, …]``."""

    def reference(
        self, fan_in: int, fan_out: int, edge_features: int, options: Any, degrees: DegreeStatistics
    ) -> torch.nn.Module:
        """PyG's layer of the same function, whose ``state_dict`` names are the parameters' names."""


FAMILY = registry.Family[Convolution]("models.conv", Convolution)
