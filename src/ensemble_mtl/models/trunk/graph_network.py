"""The full graph-network block of New et al. 2022, with global features (Battaglia et al. 2018, arXiv:1806.01261).

Nodes have features x, edges e, and the whole graph u. They begin as x⁰ = W_V x, e⁰ = W_E e, u⁰ = 1, with the inputs x
and e; then at every step, for edges i -> j,

    e ← LN(φE([e, x_i, x_j, u]) + e)
    x ← LN(φV([h_out, h_in, x, u]) + x)    with the sums h_out and h_in of e over edges that leave and enter the node
    u ← LN(φU([Σe, Σx, u]) + u)

where LN is layer norm and each φ is a network φ(z) = W₃(z + tanh(W₂ tanh(W₁ z + b₁) + b₂)) + b₃: two layers as wide as
z, which are the 256 (φE, φV) and 192 (φU) units of the paper's appendix A, a skip connection, and an output layer.
Heads of graph tasks read u, those of node tasks x. Every function is smooth, since second derivatives are wanted.

Nothing is concatenated per edge: W z = W_e e + W_s x_i + W_t x_j + W_u u, where the last three products are taken per
node or graph, and then gathered for the edges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pydantic import PositiveInt

from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.core.runtime.rounding import elementwise
from ensemble_mtl.data.degrees import DegreeStatistics
from ensemble_mtl.models.linear import apply, named
from ensemble_mtl.models.norm import layer_norm
from ensemble_mtl.models.spec import Specs, lecun, norm, prefixed
from ensemble_mtl.models.trunk.base import Features, TrunkOptions

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ensemble_mtl.data.batch import GraphBatch
else:
    torch = lazy_import("torch")

ACTIVATION: Literal["tanh"] = "tanh"
PARTS = {"edge": 4, "node": 4, "global": 3}
"""Number of vectors that are concatenated to the input of each φ."""


class Options(TrunkOptions):
    """Size of the block; the defaults are the paper's.

    Attributes:
        steps: number of message-passing steps.
        width: number of features of each edge, node and graph.
        share_weights: whether all steps use the same φE, φV, φU and layer norms. The paper's equations number
            the features by step and not the functions, and its appendix gives one size for each.
    """

    name: Literal["graph_network"] = "graph_network"
    steps: PositiveInt = 5
    width: PositiveInt = 64
    share_weights: bool = True


def parameters(in_features: int, edge_features: int, options: Options) -> Specs:
    """The parameters ``nodes`` (W_V) and ``edges`` (W_E), then for every step ``steps.<step>`` each φ and layer norm.

    Edges without features have the single feature 1, so that W_E is a learned constant.
    """
    width = options.width
    specs = {
        **lecun("nodes", in_features, width, bias=False),
        **lecun("edges", max(edge_features, 1), width, bias=False),
    }
    for step in range(1 if options.share_weights else options.steps):
        for kind, parts in PARTS.items():
            size = parts * width
            network = {**lecun("0", size, size), **lecun("1", size, size), **lecun("2", size, width)}
            specs |= {**prefixed(f"steps.{step}.{kind}", network), **norm(f"steps.{step}.{kind}_norm", width)}
    return specs


def buffers(options: Options) -> Specs:
    """No buffers: layer norm keeps no running statistics."""
    return {}


def forward(
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    batch: GraphBatch,
    options: Options,
    degrees: DegreeStatistics,
    *,
    training: bool,
) -> Features:
    """Node and global features after the last step."""
    topology = batch.topology
    x = named(batch.x, parameters, "nodes")
    if topology.kind_features is None:
        e = named(x.new_ones(1, len(topology.source), topology.graph_axis_length, 1), parameters, "edges")
    else:
        e = topology.kinds_to_edges(named(topology.kind_features[None], parameters, "edges"))
    u = _per_graph(x.new_ones(len(x), batch.num_graphs, options.width), batch)
    for step in range(options.steps):
        name = f"steps.{0 if options.share_weights else step}"
        # e ← LN(φE([e, x_i, x_j, u]) + e)
        e = layer_norm(_edge_update(parameters, f"{name}.edge", (e, x, u), batch) + e, parameters, f"{name}.edge_norm")
        # x ← LN(φV([h_out, h_in, x, u]) + x)
        leaving, entering = torch.zeros_like(x).index_add(1, topology.source, e), topology.sum_edges(e)
        z = torch.cat([leaving, entering, x, _to_nodes(u, batch).expand_as(x)], dim=-1)
        x = layer_norm(_network(parameters, f"{name}.node", z) + x, parameters, f"{name}.node_norm")
        # u ← LN(φU([Σe, Σx, u]) + u); every edge enters a node of its graph, so that Σe is the nodes' sum of h_in
        sums = batch.pool(torch.cat([entering, x], dim=-1), "sum")
        z = torch.cat([_per_graph(sums, batch), u], dim=-1)
        u = layer_norm(_network(parameters, f"{name}.global", z) + u, parameters, f"{name}.global_norm")
    return Features(x, u.flatten(1, 2))


def _network(parameters: Mapping[str, Tensor], name: str, z: Tensor) -> Tensor:
    """``[M, …, width]`` φ(z) = W₃(z + tanh(W₂ tanh(W₁ z + b₁) + b₂)) + b₃ of ``z [M, …, parts x width]``."""
    hidden = _tanh(named(z, parameters, f"{name}.0"))
    return named(z + _tanh(named(hidden, parameters, f"{name}.1")), parameters, f"{name}.2")


def _edge_update(
    parameters: Mapping[str, Tensor], name: str, values: tuple[Tensor, Tensor, Tensor], batch: GraphBatch
) -> Tensor:
    """``[M, E, B, width]`` φE([e, x_i, x_j, u]) of every edge, from ``values`` (e, x, u)."""
    e, x, u = values
    first, last = parameters[f"{name}.0.weight"], parameters[f"{name}.2.weight"]
    topology, width = batch.topology, x.shape[-1]
    # φ(z) = (W₃ z + b₃) + W₃ tanh(…W₁ z + b₁…): W₁ and W₃ are both applied to z, so one product and one gathering serve
    # both. Their columns are split by what they multiply: e, x_i, x_j and u.
    of_edge, of_source, of_target, of_graph = torch.cat([first, last], dim=1).split(width, dim=-1)
    bias = torch.cat([parameters[f"{name}.0.bias"], parameters[f"{name}.2.bias"]], dim=1)
    per_source = apply(x, of_source) + _to_nodes(apply(u, of_graph, bias), batch)
    per_target = apply(x, of_target)
    both = per_source.index_select(1, topology.source) + per_target.index_select(1, topology.target) + apply(e, of_edge)
    inner, skip = both.split([first.shape[1], last.shape[1]], dim=-1)  # W₁ z + b₁ and W₃ z + b₃
    hidden = _tanh(named(_tanh(inner), parameters, f"{name}.1"))
    return apply(hidden, last) + skip


def _tanh(x: Tensor) -> Tensor:
    """tanh(x), rounded the same for a member in a stack of any size."""
    return elementwise(torch.tanh, x)


def _per_graph(values: Tensor, batch: GraphBatch) -> Tensor:
    """Graph values ``[M, G, F]`` with the four axes of node values.

    They are ``[M, 1, B, F]`` where graphs share a topology, and otherwise ``[M, G, 1, F]``.
    """
    return values[:, None] if batch.graph_of_node is None else values[:, :, None]


def _to_nodes(u: Tensor, batch: GraphBatch) -> Tensor:
    """``[M, N or 1, B, F]`` for each node the value of its graph, from the graph values of :func:`_per_graph`.

    Where graphs share a topology, the values stay ``[M, 1, B, F]``, which broadcasts to all nodes.
    """
    return u if batch.graph_of_node is None else u.index_select(1, batch.graph_of_node)


def reference(in_features: int, edge_features: int, options: Options, degrees: DegreeStatistics) -> torch.nn.Module:
    """The same function for one member, as the equations are written, in plain torch."""
    from ensemble_mtl.models.trunk.torch_modules import GraphNetwork

    return GraphNetwork(in_features, edge_features, options)
