"""Principal neighbourhood aggregation (Corso et al. 2020, arXiv:2004.05718), as PyG's PNAConv.

A message is linear, W₁x_i + W₂x_j + W₃e_ij + b, so the parts of x_i and b leave the
aggregators: mean, min and max shift by them and the standard deviation does not see them.
Only y_j = W₂x_j (+ W₃e_ij) is aggregated; what W₁x_i + b adds to the result of the Linear that
follows is a Linear of x_i. No message is ever materialised where there are no edge features, or
where compiled loops add those of an edge's kind; torch's operations make one value per edge of
them. It is the same function, rearranged.
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
AGGREGATORS = (*SHIFTED, "std")
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
    pre = parameters["pre_nns.0.0.weight"]
    found = _aggregate(parameters, x, topology, pre[..., fan_in:])
    scales = _scales(topology.degree, options, degrees)
    if topology.num_separate_graphs:
        return _weight_by_weight(parameters, x, found, scales)

    # The two Linears that follow the aggregation are one: lin(post(z)) = (L P) z + (L q + l).
    last = parameters["lin.weight"]
    post = product(last, parameters["post_nns.0.0.weight"])
    # Written out: a matrix-vector product is rounded otherwise for one member than for several.
    shift = (last * parameters["post_nns.0.0.bias"][:, None]).sum(-1) + parameters["lin.bias"]
    by_scaler = post[..., fan_in:].unflatten(-1, (len(options.scalers), len(AGGREGATORS), fan_in))
    # Mean, min and max are those of y_j plus the term of x_i, W₁x_i + b; so that term meets the sum of their weights.
    shifted = by_scaler[:, :, :, : len(SHIFTED)].sum(3)
    of_own = product(shifted.flatten(1, 2), pre[..., :fan_in]).unflatten(1, shifted.shape[1:3])
    weight = torch.cat([of_own, by_scaler.flatten(3)], dim=-1)
    bias = (shifted * parameters["pre_nns.0.0.bias"][:, None, None]).sum(-1)
    return _scaled_linear(x, found, Linear(post[..., :fan_in], shift), Linear(weight, bias), scales)


def _weight_by_weight(parameters: Mapping[str, Tensor], x: Tensor, found: Tensor, scales: Tensor) -> Tensor:
    """The convolution with its Linears one after the other, as PyG has it, from what :func:`_aggregate` found."""
    _, *shifted, deviation = found.split(x.shape[-1], dim=-1)
    own = apply(x, parameters["pre_nns.0.0.weight"][..., : x.shape[-1]], parameters["pre_nns.0.0.bias"])
    aggregates = torch.cat([*(part + own for part in shifted), deviation], dim=-1)
    scaled = [aggregates * scale[:, None, None] for scale in scales.unbind(-1)]
    z = torch.cat([x.expand(len(found), -1, -1, -1), *scaled], dim=-1)
    return named(named(z, parameters, "post_nns.0.0"), parameters, "lin")


def _aggregate(parameters: Mapping[str, Tensor], x: Tensor, topology: Topology, weight: Tensor) -> Tensor:
    """``[M, N, B, 5 F]``: x_i; mean, min, max and standard deviation of the terms of x_j and e_ij."""
    fan_in = x.shape[-1]
    values, shifts = apply(x, weight[..., :fan_in]), None
    if topology.kinds is not None:
        shifts = apply(named(topology.kinds[None], parameters, "edge_encoder"), weight[..., fan_in:])
    plain = partial(aggregated, topology=topology)
    if topology.num_separate_graphs or not kernels.usable(values):
        return plain(x, values, shifts)
    return kernels.aggregate(x, values, shifts, topology.neighbours, VARIANCE_FLOOR, plain)


def aggregated(x: Tensor, values: Tensor, shifts: Tensor | None, *, topology: Topology) -> Tensor:
    """The same from ``x``, the terms of sources ``[M, N, B, F]``, and of kinds of edges ``[M, K, 1 or B, F]``."""
    of_edges = False
    if shifts is not None and topology.kind is not None:
        of_edges = True
        values = values.index_select(1, topology.source) + topology.of_kinds(shifts)
    inverse = topology.per_node(1 / topology.degree.clamp(min=1))
    sums = topology.sum_edges if of_edges else topology.sum_sources
    mean, square = sums(values) * inverse, sums(values * values) * inverse
    low, high = topology.edge_extrema(values) if of_edges else topology.source_extrema(values)
    variance = square - mean * mean
    std = variance.clamp(min=VARIANCE_FLOOR).sqrt().masked_fill(variance <= VARIANCE_FLOOR, 0.0)
    return torch.cat([x.expand(len(values), -1, -1, -1), mean, low, high, std], dim=-1)


class Linear(NamedTuple):
    """``weight [M, F_out, …]`` and ``bias [M, F_out, …]``."""

    weight: Tensor
    bias: Tensor


def _scaled_linear(x: Tensor, found: Tensor, own: Linear, scaled: Linear, scales: Tensor) -> Tensor:
    """W x_i + w + Σ_s scale_s(i) (W_s z_i + w_s).

    Args:
        x: ``[M or 1, N, B, F_in]``.
        found: z, ``[M, N, B, A]``, which begins with x.
        own: weight ``[M, F, F_in]`` and bias ``[M, F]``.
        scaled: weight ``[M, F, S, A]`` and bias ``[M, F, S]``.
        scales: ``[N, S]``.
    """
    if found.shape[2] == 1:
        products = apply(found, scaled.weight.transpose(1, 2).flatten(1, 2), scaled.bias.mT.flatten(1))
        products = products.unflatten(-1, (scaled.weight.shape[2], scaled.weight.shape[1]))
        return apply(x, *own) + (products * scales[:, None, :, None]).sum(-2)
    # Many graphs per node: folding the scales into one weight per node costs S times fewer
    # operations than S products per graph.
    with_own = torch.nn.functional.pad(own.weight, (0, found.shape[3] - x.shape[3]))
    folded = _folded(scales, scaled.weight.permute(0, 2, 3, 1)) + with_own.mT[:, None]
    shift = _folded(scales, scaled.bias.mT[:, :, None]) + own.bias[:, None, None]
    return shift + product(found, folded)


def _folded(scales: Tensor, by_scaler: Tensor) -> Tensor:
    """Σ_s scale_s(i) W_s, for ``scales [N, S]`` and ``by_scaler [M, S, …]``: ``[M, N, …]``."""
    return product(scales[None], by_scaler.flatten(2)).unflatten(-1, by_scaler.shape[2:])


def _scales(degree: Tensor, options: Options, degrees: DegreeStatistics) -> Tensor:
    """``[N, S]`` degree scalers; 0 at nodes without neighbours, of which nothing is aggregated."""
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
