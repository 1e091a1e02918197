"""Trunks of one member as plain torch modules for PyG's batches, for :mod:`ensemble_mtl.models.reference`."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor, nn

from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.models.conv.base import FAMILY as CONVOLUTIONS
from ensemble_mtl.models.norm import EPSILON, LAYER_EPSILON, MOMENTUM
from ensemble_mtl.models.trunk import convolutions, graph_network


class Batch(Protocol):
    """The fields of a PyG ``Batch`` that the modules read."""

    x: Tensor
    edge_index: Tensor
    edge_attr: Tensor | None
    batch: Tensor
    ptr: Tensor


Reading = tuple[Tensor, Tensor | None]
"""Node features ``[N, F]`` and graph features ``[G, F]``, or None if those are pooled from nodes."""


class Convolutions(nn.ModuleDict):
    """PyG's convolutions, each followed by torch's batch norm and ReLU."""

    def __init__(
        self, in_features: int, edge_features: int, options: convolutions.Options, degrees: DegreeStatistics
    ) -> None:
        super().__init__()
        conv = CONVOLUTIONS.of(options.conv)
        self.layers, self.uses_edges = options.layers, bool(edge_features) and conv.EDGE_FEATURES
        if conv.EQUAL_WIDTH:
            self["embed"] = nn.Linear(in_features, options.width)
        for layer, (fan_in, fan_out) in enumerate(convolutions.widths(in_features, options)):
            pyg_layer = conv.reference(fan_in, fan_out, edge_features, options.conv, degrees)
            norm = nn.BatchNorm1d(fan_out, eps=EPSILON, momentum=MOMENTUM)
            self[str(layer)] = nn.ModuleDict({"conv": _without_constants(pyg_layer), "norm": norm})

    def forward(self, batch: Batch) -> Reading:
        """Node features after the last layer, and None for the graph features, which are pooled from them."""
        x = self["embed"](batch.x) if "embed" in self else batch.x
        edges = (batch.edge_index, batch.edge_attr) if self.uses_edges else (batch.edge_index,)
        for layer in range(self.layers):
            parts = cast("nn.ModuleDict", self[str(layer)])
            x = torch.relu(parts["norm"](parts["conv"](x, *edges)))
        return x, None


class GraphNetwork(nn.Module):
    """The graph-network block as its equations are written: each function takes a concatenation."""

    def __init__(self, in_features: int, edge_features: int, options: graph_network.Options) -> None:
        super().__init__()
        self.options = options
        self.nodes = nn.Linear(in_features, options.width, bias=False)
        self.edges = nn.Linear(max(edge_features, 1), options.width, bias=False)
        self.steps = nn.ModuleList(
            nn.ModuleDict(
                {kind: _Network(parts, options.width) for kind, parts in graph_network.PARTS.items()}
                | {f"{kind}_norm": nn.LayerNorm(options.width, eps=LAYER_EPSILON) for kind in graph_network.PARTS}
            )
            for _ in range(1 if options.share_weights else options.steps)
        )

    def forward(self, batch: Batch) -> Reading:
        """Node and global features after the last step."""
        source, target = batch.edge_index
        graph, graph_of_edge = batch.batch, batch.batch[source]
        x = self.nodes(batch.x)
        e = self.edges(x.new_ones(len(source), 1) if batch.edge_attr is None else batch.edge_attr)
        u = x.new_ones(len(batch.ptr) - 1, self.options.width)
        for step in range(self.options.steps):
            functions = cast("nn.ModuleDict", self.steps[0 if self.options.share_weights else step])
            e = functions["edge_norm"](functions["edge"](e, x[source], x[target], u[graph_of_edge]) + e)
            h_out, h_in = _sums(e, source, x), _sums(e, target, x)
            x = functions["node_norm"](functions["node"](h_out, h_in, x, u[graph]) + x)
            of_edges, of_nodes = _sums(e, graph_of_edge, u), _sums(x, graph, u)
            u = functions["global_norm"](functions["global"](of_edges, of_nodes, u) + u)
        return x, u


class _Network(nn.ModuleList):
    """φ of the concatenated ``parts``: two layers as wide as the input, a skip connection, and an output layer."""

    def __init__(self, parts: int, width: int) -> None:
        size = parts * width
        super().__init__([nn.Linear(size, size), nn.Linear(size, size), nn.Linear(size, width)])

    def forward(self, *parts: Tensor) -> Tensor:
        first, second, last = self
        z = torch.cat(parts, dim=-1)
        return cast("Tensor", last(z + torch.tanh(second(torch.tanh(first(z))))))


def _sums(values: Tensor, place: Tensor, like: Tensor) -> Tensor:
    """Row k is the sum of the rows of ``values`` whose ``place`` is k; of the shape of ``like``."""
    return torch.zeros_like(like).index_add(0, place, values)


def _without_constants(layer: nn.Module) -> nn.Module:
    """The layer, with its buffers left out of its ``state_dict``: its options and the degrees determine them."""
    for module in layer.modules():
        for name, value in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, value, persistent=False)
    return layer
