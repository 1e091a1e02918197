"""Graph isomorphism network (Xu et al. 2019, arXiv:1810.00826), as PyG's GINConv.

    x'_i = MLP((1 + ε) x_i + Σ_j x_j)

over the neighbours j, with a multi-layer perceptron (MLP) of one hidden layer, as wide as its output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.models.linear import named
from ensemble_mtl.models.spec import Specs, constant, linear

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.data.topology import Topology
else:
    torch = lazy_import("torch")

EDGE_FEATURES = False
EQUAL_WIDTH = False


class Options(registry.Options):
    """GIN's options, with PyG's defaults.

    Attributes:
        eps: ε, or its initial value if it is trained.
        train_eps: whether ε is a parameter of the member.
    """

    name: Literal["gin"] = "gin"
    eps: float = 0.0
    train_eps: bool = False


def parameters(fan_in: int, fan_out: int, edge_features: int, options: Options) -> Specs:
    """Parameters with the names and shapes of PyG's ``GINConv(Sequential(Linear, ReLU, Linear))``."""
    eps = {"eps": constant(options.eps, 1)} if options.train_eps else {}
    return {**eps, **linear("nn.0", fan_in, fan_out), **linear("nn.2", fan_out, fan_out)}


def forward(
    parameters: Mapping[str, Tensor], x: Tensor, topology: Topology, options: Options, degrees: DegreeStatistics
) -> Tensor:
    """One convolution of every member: ``x [M or 1, N, B, F_in]`` to ``[M, N, B, F_out]``."""
    node_itself = x + parameters["eps"][:, None, None] * x if options.train_eps else (1 + options.eps) * x
    total = topology.sum_sources(x) + node_itself
    return named(torch.relu(named(total, parameters, "nn.0")), parameters, "nn.2")


def reference(
    fan_in: int, fan_out: int, edge_features: int, options: Options, degrees: DegreeStatistics
) -> torch.nn.Module:
    """PyG's layer that computes the same function for one member."""
    from torch_geometric.nn import GINConv

    mlp = torch.nn.Sequential(torch.nn.Linear(fan_in, fan_out), torch.nn.ReLU(), torch.nn.Linear(fan_out, fan_out))
    return GINConv(mlp, eps=options.eps, train_eps=options.train_eps)
