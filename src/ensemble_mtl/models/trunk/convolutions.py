"""A stack of graph convolutions, each followed by batch norm and ReLU; graph features are pooled from nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from ensemble_mtl.config.components import ConvChoice
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.models.conv.base import FAMILY as CONVOLUTIONS
from ensemble_mtl.models.linear import named
from ensemble_mtl.models.norm import batch_norm_relu
from ensemble_mtl.models.spec import Specs, constant, linear, norm, prefixed
from ensemble_mtl.models.trunk.base import Features, TrunkOptions

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.data.batch import GraphBatch
else:
    torch = lazy_import("torch")

ACTIVATION: Literal["relu"] = "relu"


class Options(TrunkOptions):
    """Which convolution, how many, and how graph tasks read the nodes.

    Attributes:
        conv: the convolution, with its own options; a file of ``models/conv``.
        layers: number of convolutions, one after the other.
        width: features after each of them.
        pooling: what graph features are of the nodes' features.
    """

    name: Literal["convolutions"] = "convolutions"
    conv: ConvChoice = "pna"
    layers: PositiveInt = 6
    width: PositiveInt = 20
    pooling: Literal["mean", "sum"] = "mean"

    def edges_unused(self) -> str:
        """The convolution decides."""
        if CONVOLUTIONS.of(self.conv).EDGE_FEATURES:
            return ""
        able = ", ".join(name for name in CONVOLUTIONS.names() if CONVOLUTIONS.load(name).EDGE_FEATURES)
        return f"conv {self.conv.name!r} has no use for features of edges; use one of {able}"


def widths(in_features: int, options: Options) -> list[tuple[int, int]]:
    """(in, out) features of each convolution; those that keep their width have the input lifted first."""
    first = options.width if CONVOLUTIONS.of(options.conv).EQUAL_WIDTH else in_features
    return [(first if layer == 0 else options.width, options.width) for layer in range(options.layers)]


def parameters(in_features: int, edge_features: int, options: Options) -> Specs:
    """``embed`` if the input is lifted, then ``<layer>.conv`` and ``<layer>.norm``."""
    conv, specs = CONVOLUTIONS.of(options.conv), Specs()
    if conv.EQUAL_WIDTH:
        specs |= linear("embed", in_features, options.width)
    for layer, (fan_in, fan_out) in enumerate(widths(in_features, options)):
        of_conv = conv.parameters(fan_in, fan_out, edge_features, options.conv)
        specs |= {**prefixed(f"{layer}.conv", of_conv), **norm(f"{layer}.norm", fan_out)}
    return specs


def buffers(options: Options) -> Specs:
    """Running means and variances of all batch norms."""
    specs = Specs()
    for layer in range(options.layers):
        specs[f"{layer}.norm.running_mean"] = constant(0.0, options.width)
        specs[f"{layer}.norm.running_var"] = constant(1.0, options.width)
    return specs


def forward(
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    batch: GraphBatch,
    options: Options,
    degrees: DegreeStatistics,
    *,
    training: bool,
) -> Features:
    """Node features after the last convolution, and their mean or sum over each graph."""
    conv, x = CONVOLUTIONS.of(options.conv), batch.x
    if conv.EQUAL_WIDTH:
        x = named(x, parameters, "embed")
    for layer in range(options.layers):
        prefix = f"{layer}.conv."
        of_layer = {name.removeprefix(prefix): p for name, p in parameters.items() if name.startswith(prefix)}
        x = conv.forward(of_layer, x, batch.topology, options.conv, degrees)
        x = batch_norm_relu(x, parameters, buffers, f"{layer}.norm", training=training)
    return Features(x, batch.pool(x, options.pooling))


def reference(in_features: int, edge_features: int, options: Options, degrees: DegreeStatistics) -> torch.nn.Module:
    """The same function for one member, from PyG's layers and torch's batch norms."""
    from ensemble_mtl.models.trunk.torch_modules import Convolutions

    return Convolutions(in_features, edge_features, options, degrees)
