"""Principal neighbourhood aggregation (Corso et al. 2020, arXiv:2004.05718), as PyG's PNAConv.

As published, the message of edge j -> i is W₁x_i + W₂x_j + W₃e_ij + b. Mean, minimum, maximum and standard deviation
over a node's messages are put side by side and multiplied by one scaler s after another, each a function c_s of the
node's degree. Behind x_i they form z_i, to which two linear maps are applied: x'_i = L(P z_i + q) + l.

Here it is the same function, rearranged. A message consists of t_i = W₁x_i + b, the same for all edges of node i, and
of y_ij = W₂x_j + W₃e_ij, with e_ij the edge's features after a linear encoder. Mean, minimum and maximum over j of
t_i + y_ij are t_i plus those of y_ij, and the standard deviation does not depend on t_i. With P₀ the columns of P that
multiply x_i, and P_sa those of scaler s and aggregator a,

    P z_i = P₀ x_i + Σ_s c_s(i) [ (P_s,mean + P_s,min + P_s,max) (W₁x_i + b) + Σ_a P_sa agg_a,j(y_ij) ]

So only y_ij is aggregated, and what t_i adds is a linear map of x_i whose weight is computed once for all nodes. Where
edges have no features, no tensor of one row per edge is made. Where they have features, compiled loops add W₃e_ij by
the edge's kind and make none either; torch's operations make one, that of y_ij.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from ensemble_mtl.config import registry
from ensemble_mtl.config.checked import DISTINCT
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.core.runtime.rounding import product
from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.models.linear import apply, named
from ensemble_mtl.models.spec import Specs, linear

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.data.topology import Topology
    from ensemble_mtl.models import kernels
else:
    torch = lazy_import("torch")
    kernels = lazy_import("ensemble_mtl.models.kernels")

EDGE_FEATURES = True
EQUAL_WIDTH = False

SHIFTED = ("mean", "min", "max")
"""The aggregators that are shifted by what is added to all messages of a node."""
AGGREGATORS = (*SHIFTED, "std")
VARIANCE_FLOOR = 1e-5
"""Below it PyG's standard deviation is 0, with gradient 0."""

Scaler = Literal["identity", "amplification", "attenuation", "linear"]


class Options(registry.Options):
    """PNA with the aggregators mean, min, max, std and one tower.

    Attributes:
        scalers: functions of a node's degree, by each of which all aggregates are multiplied.
    """

    name: Literal["pna"] = "pna"
    scalers: Annotated[tuple[Scaler, ...], Field(min_length=1), DISTINCT] = (
        "identity", "amplification", "attenuation", "linear",
    )  # fmt: skip


def parameters(fan_in: int, fan_out: int, edge_features: int, options: Options) -> Specs:
    """Parameters with the names and shapes of PyG's ``PNAConv(pre_layers=1, post_layers=1, towers=1)``.

    In the notation above, (W₁ W₂ W₃) and b are ``pre_nns.0.0``, P and q are ``post_nns.0.0``, and L and l are ``lin``.
    """
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
    """One convolution of every member: ``x [M or 1, N, B, F_in]`` to ``[M, N, B, F_out]``."""
    fan_in = x.shape[-1]
    pre = parameters["pre_nns.0.0.weight"]
    aggregates = _aggregates(parameters, x, topology, pre[..., fan_in:])
    scales = _scales(topology.degree, options, degrees)
    if topology.is_separated:
        return _weight_by_weight(parameters, x, aggregates, scales)

    # The two linear maps that follow the aggregation are one: L(P z + q) + l = (L P) z + (L q + l).
    last = parameters["lin.weight"]
    post = product(last, parameters["post_nns.0.0.weight"])
    # Written out: a matrix-vector product is rounded otherwise for one member than for several.
    post_bias = (last * parameters["post_nns.0.0.bias"][:, None]).sum(-1) + parameters["lin.bias"]
    # L P_sa ``[M, F_out, S, 4, F_in]``, for scaler s and aggregator a
    by_scaler = post[..., fan_in:].unflatten(-1, (len(options.scalers), len(AGGREGATORS), fan_in))
    # L (P_s,mean + P_s,min + P_s,max) ``[M, F_out, S, F_in]``, by which t_i = W₁x_i + b is multiplied
    shifted = by_scaler[:, :, :, : len(SHIFTED)].sum(3)
    of_target = product(shifted.flatten(1, 2), pre[..., :fan_in]).unflatten(1, shifted.shape[1:3])
    weight = torch.cat([of_target, by_scaler.flatten(3)], dim=-1)
    bias = (shifted * parameters["pre_nns.0.0.bias"][:, None, None]).sum(-1)
    return _scaled_linear(x, aggregates, Affine(post[..., :fan_in], post_bias), Affine(weight, bias), scales)


def _weight_by_weight(parameters: Mapping[str, Tensor], x: Tensor, aggregates: Tensor, scales: Tensor) -> Tensor:
    """The convolution with its linear maps one after the other, as PyG has it.

    Args:
        parameters: name -> ``[M, …]``.
        x: ``[M or 1, N, B, F_in]``.
        aggregates: ``[M, N, B, 5 F_in]`` what :func:`_aggregates` returns.
        scales: ``[N, S]`` degree scalers.
    """
    _, *shifted, deviation = aggregates.split(x.shape[-1], dim=-1)
    of_target = apply(x, parameters["pre_nns.0.0.weight"][..., : x.shape[-1]], parameters["pre_nns.0.0.bias"])
    of_messages = torch.cat([*(part + of_target for part in shifted), deviation], dim=-1)
    scaled = [of_messages * scale[:, None, None] for scale in scales.unbind(-1)]
    z = torch.cat([x.expand(len(aggregates), -1, -1, -1), *scaled], dim=-1)
    return named(named(z, parameters, "post_nns.0.0"), parameters, "lin")


def _aggregates(parameters: Mapping[str, Tensor], x: Tensor, topology: Topology, weight: Tensor) -> Tensor:
    """``[M, N, B, 5 F_in]``: x_i, then mean, minimum, maximum and standard deviation of y_ij = W₂x_j + W₃e_ij over j.

    ``weight [M, F_in, F_in or 2 F_in]`` is W₂, beside W₃ if edges have features.
    """
    fan_in = x.shape[-1]
    of_sources, of_kinds = apply(x, weight[..., :fan_in]), None
    if topology.kind_features is not None:
        of_kinds = apply(named(topology.kind_features[None], parameters, "edge_encoder"), weight[..., fan_in:])
    by_torch = partial(aggregate_by_torch, topology=topology)
    if topology.is_separated or not kernels.usable(of_sources):
        return by_torch(x, of_sources, of_kinds)
    return kernels.aggregate(x, of_sources, of_kinds, topology.compressed_rows, VARIANCE_FLOOR, by_torch)


def aggregate_by_torch(x: Tensor, of_sources: Tensor, of_kinds: Tensor | None, *, topology: Topology) -> Tensor:
    """``[M, N, B, 5 F]``: x_i, then mean, minimum, maximum and deviation of y_ij over j, by torch's operations.

    Args:
        x: ``[M or 1, N, B, F]``.
        of_sources: ``[M, N, B, F]`` W₂x_j for each node.
        of_kinds: ``[M, K, 1 or B, F]`` W₃e for each kind of edge; None if edges have no features.
        topology: the edges.
    """
    per_edge, y = False, of_sources
    if of_kinds is not None and topology.kind_of_edge is not None:
        per_edge = True
        y = of_sources.index_select(1, topology.source) + topology.kinds_to_edges(of_kinds)
    inverse = topology.per_node(1 / topology.degree.clamp(min=1))
    sums = topology.sum_edges if per_edge else topology.sum_sources
    mean, square = sums(y) * inverse, sums(y * y) * inverse
    low, high = topology.edge_extrema(y) if per_edge else topology.source_extrema(y)
    variance = square - mean * mean  # E y² − (E y)²
    std = variance.clamp(min=VARIANCE_FLOOR).sqrt().masked_fill(variance <= VARIANCE_FLOOR, 0.0)
    return torch.cat([x.expand(len(y), -1, -1, -1), mean, low, high, std], dim=-1)


class Affine(NamedTuple):
    """An affine map of every member: ``weight [M, F_out, …]`` and ``bias [M, F_out, …]``."""

    weight: Tensor
    bias: Tensor


def _scaled_linear(x: Tensor, aggregates: Tensor, unscaled: Affine, scaled: Affine, scales: Tensor) -> Tensor:
    """W x_i + w + Σ_s c_s(i) (W_s a_i + w_s), ``[M, N, B, F]``, with a_i the aggregates behind x_i.

    Args:
        x: ``[M or 1, N, B, F_in]``.
        aggregates: a, ``[M, N, B, A]``, which begins with x.
        unscaled: W ``[M, F, F_in]`` and w ``[M, F]``.
        scaled: W_s ``[M, F, S, A]`` and w_s ``[M, F, S]``.
        scales: c, ``[N, S]``.
    """
    if aggregates.shape[2] == 1:
        # One graph per topology: all S products at once, then their sum with the scales.
        products = apply(aggregates, scaled.weight.transpose(1, 2).flatten(1, 2), scaled.bias.mT.flatten(1))
        products = products.unflatten(-1, (scaled.weight.shape[2], scaled.weight.shape[1]))
        return apply(x, *unscaled) + (products * scales[:, None, :, None]).sum(-2)
    # Many graphs per topology: one weight per node, W + Σ_s c_s(i) W_s, takes S times fewer operations than S products
    # per graph. W is padded by zeros at the aggregates, since these begin with x.
    padded = torch.nn.functional.pad(unscaled.weight, (0, aggregates.shape[3] - x.shape[3]))
    weight = _scaled_sum(scales, scaled.weight.permute(0, 2, 3, 1)) + padded.mT[:, None]
    bias = _scaled_sum(scales, scaled.bias.mT[:, :, None]) + unscaled.bias[:, None, None]
    return bias + product(aggregates, weight)


def _scaled_sum(scales: Tensor, by_scaler: Tensor) -> Tensor:
    """``[M, N, …]`` Σ_s c_s(i) W_s for every node i, from ``scales [N, S]`` and W ``[M, S, …]``."""
    return product(scales[None], by_scaler.flatten(2)).unflatten(-1, by_scaler.shape[2:])


def _scales(degree: Tensor, options: Options, degrees: DegreeStatistics) -> Tensor:
    """``[N, S]`` degree scalers; 0 at nodes without neighbours, which have nothing to aggregate."""
    mean, mean_log = _averages(degrees)
    log = torch.log(degree + 1)
    scalers = {
        "identity": torch.ones_like(degree),
        "amplification": log / mean_log,
        "attenuation": mean_log / torch.log(degree.clamp(min=1) + 1),
        "linear": degree / mean,
    }
    return torch.stack([scalers[name] for name in options.scalers], dim=-1) * (degree > 0)[:, None]


def _averages(degrees: DegreeStatistics) -> tuple[float, float]:
    """Mean degree and mean log(degree + 1), the divisors of the scalers; those of degree 1 if no graph has an edge."""
    return degrees.mean or 1.0, degrees.mean_log or math.log(2.0)


def reference(
    fan_in: int, fan_out: int, edge_features: int, options: Options, degrees: DegreeStatistics
) -> torch.nn.Module:
    """PyG's layer that computes the same function for one member."""
    from torch_geometric.nn import PNAConv

    layer = PNAConv(
        fan_in,
        fan_out,
        list(AGGREGATORS),
        list(options.scalers),
        torch.tensor(degrees.histogram),
        edge_dim=edge_features or None,
    )
    # PyG computes these two constants in float32; here they are the same numbers in float64.
    mean, mean_log = _averages(degrees)
    layer.aggr_module.init_avg_deg_lin, layer.aggr_module.init_avg_deg_log = mean, mean_log
    layer.aggr_module.reset_parameters()
    return layer
