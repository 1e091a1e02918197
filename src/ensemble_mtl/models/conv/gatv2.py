"""Graph attention, second version (Brody et al. 2022, arXiv:2105.14491), as PyG's GATv2Conv.

For each attention head,

    x'_i = Σ_j α_ij W_l x_j    with α_ij = softmax_j aᵀ LeakyReLU(W_l x_j + W_r x_i + W_e e_ij)

over the neighbours j of i and i itself. Heads are averaged, so that the width stays.

Each node has exactly one edge i -> i: those that periodic images make are replaced by one, whose features are the mean
over the node's other edges.
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
        heads: number of attention heads, over which is averaged.
        negative_slope: slope of the LeakyReLU below 0.
        bias: whether the linear maps and the output have a bias.
    """

    name: Literal["gatv2"] = "gatv2"
    heads: PositiveInt = 1
    negative_slope: NonNegativeFloat = 0.2
    bias: bool = True


def parameters(fan_in: int, fan_out: int, edge_features: int, options: Options) -> Specs:
    """Parameters with the names and shapes of PyG's ``GATv2Conv(concat=False, edge_dim=edge_features)``."""
    all_heads = options.heads * fan_out
    specs = {"att": glorot(1, options.heads, fan_out)}
    if options.bias:
        specs["bias"] = constant(0.0, fan_out)
    for name in ("lin_l", "lin_r"):
        specs |= linear(name, fan_in, all_heads, bias=options.bias)
        specs[f"{name}.weight"] = glorot(all_heads, fan_in)
    if edge_features:
        specs["lin_edge.weight"] = glorot(all_heads, edge_features)
    return specs


def forward(
    parameters: Mapping[str, Tensor], x: Tensor, topology: Topology, options: Options, degrees: DegreeStatistics
) -> Tensor:
    """One convolution of every member: ``x [M or 1, N, B, F_in]`` to ``[M, N, B, F_out]``."""
    topology = topology.with_self_loops
    of_source, of_target = named(x, parameters, "lin_l"), named(x, parameters, "lin_r")
    values = of_source.index_select(1, topology.source)  # W_l x_j, per edge, all heads side by side
    hidden = values + of_target.index_select(1, topology.target)
    if topology.kind_features is not None:
        hidden = hidden + topology.kinds_to_edges(apply(topology.kind_features[None], parameters["lin_edge.weight"]))
    hidden = torch.nn.functional.leaky_relu(hidden, options.negative_slope)
    # aᵀ LeakyReLU(…) for each head: [M, E, B, heads, F] summed over F
    by_head = (hidden * parameters["att"].flatten(1)[:, None, None]).unflatten(-1, (options.heads, -1))
    attention = topology.edge_softmax(by_head.sum(-1))
    messages = values.unflatten(-1, (options.heads, -1)) * attention[..., None]
    out = topology.sum_edges(messages).mean(-2)
    return out + parameters["bias"][:, None, None] if options.bias else out


def reference(
    fan_in: int, fan_out: int, edge_features: int, options: Options, degrees: DegreeStatistics
) -> torch.nn.Module:
    """PyG's layer that computes the same function for one member."""
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
