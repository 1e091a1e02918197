"""Molecular fingerprint convolution (Duvenaud et al. 2015, arXiv:1509.09292), as PyG's MFConv.

    x'_i = W_l^(d) Σ_j x_j + b^(d) + W_r^(d) x_i

over the neighbours j. Each degree d, the number of edges that enter node i, has weights of its own. Degrees above
``max_degree`` share those of ``max_degree``, with which the number of parameters grows.
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
        max_degree: largest degree with weights of its own. An atom of a crystal has far more neighbours than one of a
            molecule has bonds: choose it by the degrees in the data.
    """

    name: Literal["mfc"] = "mfc"
    max_degree: NonNegativeInt = 10


def parameters(fan_in: int, fan_out: int, edge_features: int, options: Options) -> Specs:
    """Parameters with the names and shapes of PyG's ``MFConv``."""
    specs = Specs()
    for d in range(options.max_degree + 1):
        specs |= linear(f"lins_l.{d}", fan_in, fan_out)
        specs |= linear(f"lins_r.{d}", fan_in, fan_out, bias=False)
    return specs


def forward(
    parameters: Mapping[str, Tensor], x: Tensor, topology: Topology, options: Options, degrees: DegreeStatistics
) -> Tensor:
    """One convolution of every member: ``x [M or 1, N, B, F_in]`` to ``[M, N, B, F_out]``."""
    order, counts = topology.nodes_by_degree
    counts = [*counts[: options.max_degree], sum(counts[options.max_degree :])]
    # Nodes are put in the order of their degrees, so that each weight meets all of its nodes in one product.
    neighbour_sums = topology.sum_sources(x).index_select(1, order).split(counts, dim=1)
    nodes = x.index_select(1, order).split(counts, dim=1)
    by_degree = [
        named(neighbour_sums[d], parameters, f"lins_l.{d}") + named(nodes[d], parameters, f"lins_r.{d}")
        for d, count in enumerate(counts)
        if count
    ]
    return torch.cat(by_degree, dim=1).index_select(1, torch.argsort(order))


def reference(
    fan_in: int, fan_out: int, edge_features: int, options: Options, degrees: DegreeStatistics
) -> torch.nn.Module:
    """PyG's layer that computes the same function for one member."""
    from torch_geometric.nn import MFConv

    return MFConv(fan_in, fan_out, max_degree=options.max_degree)
