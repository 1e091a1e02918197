"""GraphSAGE with mean aggregation (Hamilton et al. 2017, arXiv:1706.02216), as PyG's SAGEConv.

    x'_i = W_l mean_j x_j + b + W_r x_i

over the neighbours j; the mean over no neighbours is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from ensemble_mtl.config import registry
from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.models.linear import named
from ensemble_mtl.models.spec import Specs, linear

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.data.topology import Topology

EDGE_FEATURES = False
EQUAL_WIDTH = False


class Options(registry.Options):
    """This convolution has no options."""

    name: Literal["sage"] = "sage"


def parameters(fan_in: int, fan_out: int, edge_features: int, options: Options) -> Specs:
    """Parameters with the names and shapes of PyG's ``SAGEConv``."""
    return {**linear("lin_l", fan_in, fan_out), **linear("lin_r", fan_in, fan_out, bias=False)}


def forward(
    parameters: Mapping[str, Tensor], x: Tensor, topology: Topology, options: Options, degrees: DegreeStatistics
) -> Tensor:
    """One convolution of every member: ``x [M or 1, N, B, F_in]`` to ``[M, N, B, F_out]``."""
    mean = topology.sum_sources(x) * topology.per_node(1 / topology.degree.clamp(min=1))
    return named(mean, parameters, "lin_l") + named(x, parameters, "lin_r")


def reference(
    fan_in: int, fan_out: int, edge_features: int, options: Options, degrees: DegreeStatistics
) -> torch.nn.Module:
    """PyG's layer that computes the same function for one member."""
    from torch_geometric.nn import SAGEConv

    return SAGEConv(fan_in, fan_out)
