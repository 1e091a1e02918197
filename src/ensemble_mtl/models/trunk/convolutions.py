"""A stack of graph convolutions, each followed by batch norm and ReLU; graph features are pooled from nodes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveInt, model_validator

from ensemble_mtl.config import registry
from ensemble_mtl.config.checked import Mistake, mistakes
from ensemble_mtl.config.components import ConvOptions
from ensemble_mtl.config.sections import ModelConfig
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.models.linear import named
from ensemble_mtl.models.norm import batch_norm_relu
from ensemble_mtl.models.spec import Specs, constant, linear, norm, prefixed
from ensemble_mtl.models.trunk.base import Features

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.data.batch import GraphBatch
else:
    torch = lazy_import("torch")

ACTIVATION: Literal["relu"] = "relu"


class Options(ModelConfig):
    """Which convolution, how many, and how graph tasks read the nodes."""

    trunk: Literal["convolutions"] = "convolutions"
    conv: ConvOptions = "pna"
    layers: PositiveInt = 6
    width: PositiveInt = 20
    pooling: Literal["mean", "sum"] = "mean"

    @model_validator(mode="after")
    def _edge_features_are_used(self) -> Options:
        def uses_edges(conv: str) -> bool:
            return bool(conv_module(conv).EDGE_FEATURES)

        if self.edge_basis is not None and not uses_edges(self.conv.name):
            able = ", ".join(name for name in registry.names("models.conv") if uses_edges(name))
            text = f"conv {self.conv.name!r} has no use for edge features; leave edge_basis out, or use one of {able}"
            raise mistakes([Mistake(("edge_basis",), text, self.edge_basis)])
        return self


@cache
def conv_module(name: str) -> Any:
    """The convolution's module; looked up once, since that reads a directory."""
    return registry.load("models.conv", name)


def widths(in_features: int, options: Options) -> list[tuple[int, int]]:
    """(in, out) features of each convolution; those that keep their width have the input lifted first."""
    first = options.width if conv_module(options.conv.name).EQUAL_WIDTH else in_features
    return [(first if layer == 0 else options.width, options.width) for layer in range(options.layers)]


def parameters(in_features: int, edge_features: int, options: Options) -> Specs:
    """``embed`` if the input is lifted, then ``<layer>.conv`` and ``<layer>.norm``."""
    conv, specs = conv_module(options.conv.name), Specs()
    if conv.EQUAL_WIDTH:
        specs |= linear("embed", in_features, options.width)
    for layer, (fan_in, fan_out) in enumerate(widths(in_features, options)):
        own = conv.parameters(fan_in, fan_out, edge_features, options.conv)
        specs |= {**prefixed(f"{layer}.conv", own), **norm(f"{layer}.norm", fan_out)}
    return specs


def buffers(options: Options) -> Specs:
    """Running statistics of the batch norms."""
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
    conv, x = conv_module(options.conv.name), batch.x
    if conv.EQUAL_WIDTH:
        x = named(x, parameters, "embed")
    for layer in range(options.layers):
        prefix = f"{layer}.conv."
        own = {name.removeprefix(prefix): p for name, p in parameters.items() if name.startswith(prefix)}
        x = conv.forward(own, x, batch.topology, options.conv, degrees)
        x = batch_norm_relu(x, parameters, buffers, f"{layer}.norm", training=training)
    return Features(x, batch.pool(x, options.pooling))


def reference(in_features: int, edge_features: int, options: Options, degrees: DegreeStatistics) -> torch.nn.Module:
    """PyG's layers and torch's batch norms."""
    from ensemble_mtl.models.trunk.torch_modules import Convolutions

    return Convolutions(in_features, edge_features, options, degrees)
