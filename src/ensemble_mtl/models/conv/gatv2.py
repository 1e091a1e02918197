"""Graph attention, second version (Brody et al. 2022, arXiv:2105.14491), as PyG's GATv2Conv.

Per head, x'_i = Σ_j α_ij W_l x_j with α_ij = softmax_j aᵀ LeakyReLU(W_l x_j + W_r x_i + W_e e_ij)
over the neighbours and the node itself; heads are averaged, so that the width stays.

A node meets itself once: edges i -> i that periodic images make are replaced by one, whose
edge features are the mean over the node's other edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeFloat, PositiveInt

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.models.linear import apply, named
from ensemble_mtl.models.spec import Specs, constant, glorot, linear

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.data.topology import Topology
else:
    torch = lazy_import("torch")

EDGE_FEATURES = True
EQUAL_WIDTH = False


class Options(registry.Options):
    """GATv2's options, with PyG's defaults.

    Attributes:
        heads: attention heads, averaged.
        negative_slope: of the LeakyReLU.
        bias: whether the Linears and the output have one.
    """

    name: Literal["gatv2"] = "gatv2"
    heads: PositiveInt = 1
    negative_slope: NonNegativeFloat = 0.2
    bias: bool = True


def parameters(fan_in: int, fan_out: int, edge_features: int, options: Options) -> Specs:
    """Names and shapes as PyG's ``GATv2Conv(concat=False, edge_dim=edge_features)``."""
    wide = options.heads * fan_out
    specs = {"att": glorot(1, options.heads, fan_out)}
    if options.bias:
        specs["bias"] = constant(0.0, fan_out)
    for name in ("lin_l", "lin_r"):
        specs |= linear(name, fan_in, wide, bias=options.bias)
        specs[f"{name}.weight"] = glorot(wide, fan_in)
    if edge_features:
        specs["lin_edge.weight"] = glorot(wide, edge_features)
    return specs


def forward(
    parameters: Mapping[str, Tensor], x: Tensor, topology: Topology, options: Options, degrees: DegreeStatistics
) -> Tensor:
    """One convolution; shapes in :mod:`ensemble_mtl.models.conv.base`."""
    topology = topology.with_self_loops
    left, right = named(x, parameters, "lin_l"), named(x, parameters, "lin_r")
    values = left.index_select(1, topology.source)
    hidden = values + right.index_select(1, topology.target)
    if topology.kinds is not None:
        hidden = hidden + topology.of_kinds(apply(topology.kinds[None], parameters["lin_edge.weight"]))
    hidden = torch.nn.functional.leaky_relu(hidden, options.negative_slope)
    by_head = (hidden * parameters["att"].flatten(1)[:, None, None]).unflatten(-1, (options.heads, -1))
    attention = topology.edge_softmax(by_head.sum(-1))
    messages = values.unflatten(-1, (options.heads, -1)) * attention[..., None]
    out = topology.sum_edges(messages).mean(-2)
    return out + parameters["bias"][:, None, None] if options.bias else out


def reference(
    fan_in: int, fan_out: int, edge_features: int, options: Options, degrees: DegreeStatistics
) -> torch.nn.Module:
    """PyG's layer of the same function."""
    from torch_geometric.nn import GATv2Conv

    return GATv2Conv(
        fan_in,
        fan_out,
        heads=options.heads,
        concat=False,
        negative_slope=options.negative_slope,
        edge_dim=edge_features or None,
        bias=options.bias,
    )
