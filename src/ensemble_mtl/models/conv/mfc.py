"""Molecular fingerprint convolution (Duvenaud et al. 2015, arXiv:1509.09292), as PyG's MFConv.

x'_i = W_l^(d) Σ_j x_j + b^(d) + W_r^(d) x_i with weights of their own for each degree d of
node i. Degrees above ``max_degree`` share the last weights, so the parameters grow with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.models.linear import named
from ensemble_mtl.models.spec import Specs, linear

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.data.topology import Topology
else:
    torch = lazy_import("torch")

EDGE_FEATURES = False
EQUAL_WIDTH = False


class Options(registry.Options):
    """MFConv's options, with PyG's defaults.

    Attributes:
        max_degree: largest degree that has weights of its own. Crystals have far more
            neighbours than molecules have bonds: choose it by the data's degrees.
    """

    name: Literal["mfc"] = "mfc"
    max_degree: NonNegativeInt = 10


def parameters(fan_in: int, fan_out: int, edge_features: int, options: Options) -> Specs:
    """Names and shapes as PyG's ``MFConv``."""
    specs = Specs()
    for d in range(options.max_degree + 1):
        specs |= linear(f"lins_l.{d}", fan_in, fan_out)
        specs |= linear(f"lins_r.{d}", fan_in, fan_out, bias=False)
    return specs


def forward(
    parameters: Mapping[str, Tensor], x: Tensor, topology: Topology, options: Options, degrees: DegreeStatistics
) -> Tensor:
    """One convolution; shapes in :mod:`ensemble_mtl.models.conv.base`."""
    order, counts = topology.nodes_by_degree
    counts = [*counts[: options.max_degree], sum(counts[options.max_degree :])]
    # Nodes of one degree lie side by side, so each weight meets its nodes in one product.
    sums = topology.sum_sources(x).index_select(1, order).split(counts, dim=1)
    own = x.index_select(1, order).split(counts, dim=1)
    grouped = [
        named(sums[d], parameters, f"lins_l.{d}") + named(own[d], parameters, f"lins_r.{d}")
        for d, count in enumerate(counts)
        if count
    ]
    return torch.cat(grouped, dim=1).index_select(1, torch.argsort(order))


def reference(
    fan_in: int, fan_out: int, edge_features: int, options: Options, degrees: DegreeStatistics
) -> torch.nn.Module:
    """PyG's layer of the same function."""
    from torch_geometric.nn import MFConv

    return MFConv(fan_in, fan_out, max_degree=options.max_degree)
