"""Crystal graph convolution (Xie and Grossman 2018, doi:10.1103/PhysRevLett.120.145301), as PyG's CGConv.

    x'_i = x_i + Σ_j σ(W_f z_ij + b_f) ⊙ softplus(W_s z_ij + b_s)    with z_ij = [x_i, x_j, e_ij]

over the edges j -> i with features e_ij. The concatenation is never made: W z = W₁ x_i + W₂ x_j + W₃ e_ij, where the
first two products are taken per node instead of per edge, and the third per kind of edge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.core.runtime.rounding import elementwise
from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.models.linear import apply
from ensemble_mtl.models.spec import Specs, linear

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.data.topology import Topology
else:
    torch = lazy_import("torch")

EDGE_FEATURES = True
EQUAL_WIDTH = True


class Options(registry.Options):
    """This convolution has no options. It has no batch norm inside, since one follows every convolution."""

    name: Literal["cgcnn"] = "cgcnn"


def parameters(fan_in: int, fan_out: int, edge_features: int, options: Options) -> Specs:
    """Parameters with the names and shapes of PyG's ``CGConv(channels, dim)``; ``fan_in`` must equal ``fan_out``."""
    size = 2 * fan_in + edge_features
    return {**linear("lin_f", size, fan_out), **linear("lin_s", size, fan_out)}


def forward(
    parameters: Mapping[str, Tensor], x: Tensor, topology: Topology, options: Options, degrees: DegreeStatistics
) -> Tensor:
    """One convolution of every member: ``x [M or 1, N, B, F_in]`` to ``[M, N, B, F_out]``."""
    gate = elementwise(torch.sigmoid, _edge_linear(parameters, "lin_f", x, topology))
    core = elementwise(torch.nn.functional.softplus, _edge_linear(parameters, "lin_s", x, topology))
    return x + topology.sum_edges(gate * core)


def _edge_linear(parameters: Mapping[str, Tensor], name: str, x: Tensor, topology: Topology) -> Tensor:
    """``[M, E, B, F]`` W z_ij + b of every edge, with the weight and bias of this name."""
    width = x.shape[-1]
    weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
    of_target = apply(x, weight[..., :width], bias)  # W₁ x_i + b, per node
    of_source = apply(x, weight[..., width : 2 * width])  # W₂ x_j, per node
    out = of_target.index_select(1, topology.target) + of_source.index_select(1, topology.source)
    if topology.kind_features is None:
        return out
    return out + topology.kinds_to_edges(apply(topology.kind_features[None], weight[..., 2 * width :]))


def reference(
    fan_in: int, fan_out: int, edge_features: int, options: Options, degrees: DegreeStatistics
) -> torch.nn.Module:
    """PyG's layer that computes the same function for one member."""
    from torch_geometric.nn import CGConv

    return CGConv(fan_out, dim=edge_features)
