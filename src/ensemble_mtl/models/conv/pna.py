"""Principal neighbourhood aggregation (Corso et al. 2020, arXiv:2004.05718), as PyG's PNAConv.

A message is linear, W₁x_i + W₂x_j + W₃e_ij + b, so the parts of x_i and b leave the
aggregators: mean, min and max shift by them and the standard deviation does not see them.
Only y_j = W₂x_j (+ W₃e_ij) is aggregated, and no message is ever materialised where there
are no edge features. It is the same function, rearranged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ensemble_mtl import registry
from ensemble_mtl.checked import DISTINCT
from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.lazy import lazy_import
from ensemble_mtl.models.linear import apply, named
from ensemble_mtl.models.spec import Specs, linear
from ensemble_mtl.rounding import product

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.data.topology import Topology
else:
    torch = lazy_import("torch")

EDGE_FEATURES = True
EQUAL_WIDTH = False

AGGREGATORS = ("mean", "min", "max", "std")
VARIANCE_FLOOR = 1e-5
"""Below it PyG's standard deviation is 0, with gradient 0."""

Scaler = Literal["identity", "amplification", "attenuation", "linear"]


class Options(registry.Options):
    """PNA with the aggregators mean, min, max, std and one tower.

    Attributes:
        scalers: degree scalers that multiply every aggregate.
    """

    name: Literal["pna"] = "pna"
    scalers: Annotated[tuple[Scaler, ...], Field(min_length=1), DISTINCT] = (
        "identity", "amplification", "attenuation", "linear",
    )  # fmt: skip


def parameters(fan_in: int, fan_out: int, edge_features: int, options: Options) -> Specs:
    """Names and shapes as PyG's ``PNAConv(pre_layers=1, post_layers=1, towers=1)``."""
    parts = 3 if edge_features else 2
    aggregated = len(AGGREGATORS) * len(options.scalers) * fan_in
    encoder = linear("edge_encoder", edge_features, fan_in) if edge_features else {}
    return {
        **encoder,
        **linear("pre_nns.0.0", parts * fan_in, fan_in),
        **linear("post_nns.0.0", fan_in + aggregated, fan_out),
        **linear("lin", fan_out, fan_out),
    }


def forward(
    parameters: Mapping[str, Tensor], x: Tensor, topology: Topology, options: Options, degrees: DegreeStatistics
) -> Tensor:
    """One convolution; shapes in :mod:`ensemble_mtl.models.conv.base`."""
    fan_in = x.shape[-1]
    weight, bias = parameters["pre_nns.0.0.weight"], parameters["pre_nns.0.0.bias"]
    aggregates = _aggregate(parameters, x, topology, weight, bias)

    # The two Linears that follow the aggregation are one: lin(post(z)) = (L P) z + (L q + l).
    last = parameters["lin.weight"]
    post = product(last, parameters["post_nns.0.0.weight"])
    # Written out: a matrix-vector product is rounded otherwise for one member than for several.
    shift = (last * parameters["post_nns.0.0.bias"][:, None]).sum(-1) + parameters["lin.bias"]
    own = apply(x, post[..., :fan_in], shift)
    scaled = post[..., fan_in:].unflatten(-1, (len(options.scalers), len(AGGREGATORS) * fan_in))
    return own + _scaled_linear(aggregates, scaled, _scales(topology.degree, options, degrees))


def _aggregate(parameters: Mapping[str, Tensor], x: Tensor, topology: Topology, weight: Tensor, bias: Tensor) -> Tensor:
    """``[M, N, B, 4 F]``: mean, min, max and standard deviation of the messages."""
    fan_in = x.shape[-1]
    own = topology.mask_lone(apply(x, weight[..., :fan_in], bias))
    y = apply(x, weight[..., fan_in : 2 * fan_in])
    inverse = topology.per_node(1 / topology.degree.clamp(min=1))
    if topology.edge_attr is None:
        mean = topology.sum_sources(y) * inverse
        square = topology.sum_sources(y * y) * inverse
        low, high = topology.source_extrema(y)
    else:
        encoded = named(topology.edge_attr[None], parameters, "edge_encoder")
        edge = apply(encoded, weight[..., 2 * fan_in :])
        z = y.index_select(1, topology.source) + edge[:, :, None]
        mean = topology.sum_edges(z) * inverse
        square = topology.sum_edges(z * z) * inverse
        low, high = topology.edge_extrema(z)
    variance = square - mean * mean
    std = variance.clamp(min=VARIANCE_FLOOR).sqrt().masked_fill(variance <= VARIANCE_FLOOR, 0.0)
    return torch.cat([own + mean, own + low, own + high, std], dim=-1)


def _scaled_linear(aggregates: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
    """Σ_s scale_s(i) W_s a_i, for ``aggregates [M, N, B, A]``, ``weight [M, F, S, A]``, ``scales [N, S]``."""
    if aggregates.shape[2] == 1:
        products = apply(aggregates, weight.transpose(1, 2).flatten(1, 2))
        products = products.unflatten(-1, (weight.shape[2], weight.shape[1]))
        return (products * scales[:, None, :, None]).sum(-2)
    # Many graphs per node: folding the scales into one weight per node costs S times fewer
    # operations than S products per graph. Added up term by term, since a contraction by
    # einsum is rounded otherwise for other numbers of members.
    folded = scales[:, 0, None, None] * weight[:, None, :, 0]
    for s in range(1, weight.shape[2]):
        folded = folded + scales[:, s, None, None] * weight[:, None, :, s]
    return product(aggregates, folded.mT)


def _scales(degree: Tensor, options: Options, degrees: DegreeStatistics) -> Tensor:
    """``[N, S]`` degree scalers."""
    mean, mean_log = _averages(degrees)
    log = torch.log(degree + 1)
    scalers = {
        "identity": torch.ones_like(degree),
        "amplification": log / mean_log,
        "attenuation": mean_log / torch.log(degree.clamp(min=1) + 1),
        "linear": degree / mean,
    }
    return torch.stack([scalers[name] for name in options.scalers], dim=-1)


def _averages(degrees: DegreeStatistics) -> tuple[float, float]:
    """Mean degree and mean log(degree + 1); 1 for graphs without any edge, to divide by."""
    return degrees.mean or 1.0, degrees.mean_log or math.log(2.0)


def reference(
    fan_in: int, fan_out: int, edge_features: int, options: Options, degrees: DegreeStatistics
) -> torch.nn.Module:
    """PyG's layer of the same function."""
    from torch_geometric.nn import PNAConv

    layer = PNAConv(
        fan_in,
        fan_out,
        list(AGGREGATORS),
        list(options.scalers),
        torch.tensor(degrees.histogram),
        edge_dim=edge_features or None,
    )
    # PyG computes these two constants in float32; ours are the same numbers in float64.
    mean, mean_log = _averages(degrees)
    layer.aggr_module.init_avg_deg_lin, layer.aggr_module.init_avg_deg_log = mean, mean_log
    layer.aggr_module.reset_parameters()
    return layer
