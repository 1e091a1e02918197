"""Edges of a batch, and the sums and extrema over neighbours that convolutions need.

Node values have shape ``[M, N, B, F]``: member, node, graph, feature. Graphs that share a topology differ only along B,
so one topology of N nodes serves all of them, and a sum over neighbours is one small matrix product. Graphs with
topologies of their own are laid end to end along N, with B = 1. So convolutions are written once for both cases.

Values at edges have shape ``[M, E, B, F]``. What depends on an edge alone, such as the expansion of its length, is the
same for all graphs that share the topology and has an axis B of length 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensemble_mtl.core.runtime.rounding import product
from ensemble_mtl.data.padded_slots import arg_extrema, padded_slots

MAX_DENSE_NODES = 512
"""Up to this number of nodes, a shared topology sums over neighbours by a dense matrix."""


CompressedRows = tuple[NDArray[Any], ...]
"""Edges as compressed sparse rows, one row per node, for compiled loops; equal edges of a node are one entry. Five
arrays: where each node's entries begin ``[N + 1]``; of each entry its source ``[R]``, its kind ``[R]`` and how many
edges it stands for ``[R]``; and 1 / degree of each node ``[N]``, where a degree of 0 counts as 1."""


@dataclass(frozen=True)
class Topology:
    """Directed edges j -> i, sorted by target.

    Attributes:
        num_nodes: N.
        source: ``[E]`` int64, node j of each edge.
        target: ``[E]`` int64, node i of each edge.
        degree: ``[N]`` number of incoming edges, in the floating dtype of the data.
        adjacency: ``[N, N]`` number of edges j -> i in row i, or None where the matrix would be large.
        source_slots: ``[K, N]`` int64, the distinct sources of each node; a node with fewer than K repeats one of its
            sources, which changes no extremum.
        edge_slots: ``[K', N]`` int64, the incoming edges of each node, padded in the same way.
        kind_features: ``[K, 1, D]`` the distinct features that edges have, or None if edges have no features. In a
            separated topology whose graphs lie along B, each graph has rows of its own, ``[K, B, D]``.
        kind_of_edge: ``[E]`` int64, which row of ``kind_features`` holds an edge's features, or None.
        isolated: ``[N, 1, 1]`` bool, whether a node has no neighbour; None where every node has one.
        is_separated: whether every row of every layer belongs to a single graph (see :meth:`separated`).
        graph_axis_length: length of the axis B of values that depend on an edge alone: 1, unless separated, then B.
    """

    num_nodes: int
    source: Tensor
    target: Tensor
    degree: Tensor
    adjacency: Tensor | None
    source_slots: Tensor
    edge_slots: Tensor
    kind_features: Tensor | None
    kind_of_edge: Tensor | None
    isolated: Tensor | None
    is_separated: bool = False
    graph_axis_length: int = 1

    @cached_property
    def edge_attr(self) -> Tensor | None:
        """Edge features ``[E, D]``, or None."""
        return (
            None
            if self.kind_features is None or self.kind_of_edge is None
            else self.kind_features[:, 0].index_select(0, self.kind_of_edge)
        )

    def kinds_to_edges(self, terms: Tensor) -> Tensor:
        """Copy terms of the kinds of edges ``[M, K, 1 or B, F]`` to the edges ``[M, E, 1 or B, F]``.

        Convolutions transform the few distinct rows of edge features, and only their results are copied.
        """
        assert self.kind_of_edge is not None  # noqa: S101 - for the type checker
        return terms.index_select(1, self.kind_of_edge)

    def zero_isolated(self, x: Tensor) -> Tensor:
        """Return ``x`` ``[M, N, B, F]`` with 0 at nodes that have no neighbour."""
        return x if self.isolated is None else x.masked_fill(self.isolated, 0.0)

    def per_node(self, values: Tensor) -> Tensor:
        """Reshape ``[N]`` to ``[N, 1, 1]``, to scale node values."""
        return values[:, None, None]

    def sum_sources(self, x: Tensor) -> Tensor:
        """Return the sum of ``x_j`` over the edges j -> i of each node i, from ``[M, N, B, F]`` to the same shape."""
        if self.adjacency is not None:
            return product(self.adjacency[None], x.flatten(2)).view(x.shape)
        return self.sum_edges(x.index_select(1, self.source))

    def sum_edges(self, edges: Tensor) -> Tensor:
        """Return the sum over the incoming edges of each node, from ``[M, E, B, F]`` to ``[M, N, B, F]``."""
        shape = (edges.shape[0], self.num_nodes, *edges.shape[2:])
        return edges.new_zeros(shape).index_add(1, self.target, edges)

    def source_extrema(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the minimum and maximum of ``y_j`` over the neighbours j of each node, elementwise.

        Args:
            y: ``[M, N, B, F]``; the results have the same shape, and are 0 at a node without neighbours.
        """
        return self._extrema(y, self.source_slots)

    def edge_extrema(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Return the minimum and maximum over the incoming edges of each node, elementwise.

        Args:
            edges: ``[M, E, B, F]``; the results are ``[M, N, B, F]``, and 0 at a node without edges.
        """
        return self._extrema(edges, self.edge_slots)

    def edge_softmax(self, scores: Tensor) -> Tensor:
        """Return the softmax of ``scores`` ``[M, E, B, H]`` over the edges that enter one node."""
        if scores.shape[1] == 0:
            return scores
        # The maximum is subtracted so that exp does not overflow. A softmax does not depend on what is subtracted, so
        # the maximum needs no gradient.
        constant = scores.detach()
        peak = constant.index_select(1, self.edge_slots[0])
        for slot in self.edge_slots[1:]:
            peak = torch.maximum(peak, constant.index_select(1, slot))
        weights = (scores - peak.index_select(1, self.target)).exp()
        return weights / self.sum_edges(weights).index_select(1, self.target)

    @cached_property
    def with_self_loops(self) -> Topology:
        """The same graph with exactly one edge i -> i at each node, as PyG makes it.

        Edges i -> i that are there are removed; the features of the new one are the mean over the node's remaining
        edges, or 0 if there are none.
        """
        proper = torch.nonzero(self.source != self.target).flatten()
        nodes = torch.arange(self.num_nodes, device=self.target.device)
        edge_index = torch.stack([torch.cat([self.source[proper], nodes]), torch.cat([self.target[proper], nodes])])
        order = torch.argsort(edge_index[1] * self.num_nodes + edge_index[0], stable=True)
        edge_attr = self.edge_attr
        if edge_attr is not None:
            edge_attr = edge_attr[proper]
            total = edge_attr.new_zeros(self.num_nodes, edge_attr.shape[1]).index_add(0, self.target[proper], edge_attr)
            count = torch.bincount(self.target[proper], minlength=self.num_nodes).clamp(min=1)
            edge_attr = torch.cat([edge_attr, total / count[:, None]])[order]
        shared = self.adjacency is not None
        looped = make(self.num_nodes, edge_index[:, order], edge_attr, dtype=self.degree.dtype, shared=shared)
        return looped._separated_along_axis(self.graph_axis_length) if self.is_separated else looped

    def separated(self, graph_of_node: Tensor | None, num_graphs: int) -> Topology:
        """Return the same edges for a pass in which every row of every layer belongs to a single graph.

        Such a pass gives the gradients of single graphs: what a row adds to a gradient is its graph's. In an ordinary
        pass the row of a kind of edge serves all graphs that have such edges. Here each graph has rows of its own, and
        convolutions apply each weight to rows as it stands, instead of multiplying weights with each other beforehand.

        Args:
            graph_of_node: ``[N]`` graph of each node; None where the graphs share this topology.
            num_graphs: G, the number of graphs.
        """
        if graph_of_node is None:
            return self._separated_along_axis(num_graphs)
        if self.kind_features is None or self.kind_of_edge is None:
            return replace(self, is_separated=True)
        # the graphs lie end to end: one kind for each pair of a graph and a kind that occurs in it
        num_kinds = len(self.kind_features)
        pair = graph_of_node.index_select(0, self.target) * num_kinds + self.kind_of_edge
        distinct_pairs, kind = torch.unique(pair, return_inverse=True)
        kinds = self.kind_features.index_select(0, distinct_pairs % num_kinds)
        return replace(self, kind_features=kinds, kind_of_edge=kind, is_separated=True)

    def _separated_along_axis(self, num_graphs: int) -> Topology:
        """Return :meth:`separated` for ``num_graphs`` graphs along the axis B that share this topology."""
        kinds = None if self.kind_features is None else self.kind_features.expand(-1, num_graphs, -1)
        return replace(self, kind_features=kinds, is_separated=True, graph_axis_length=num_graphs)

    @cached_property
    def nodes_by_degree(self) -> tuple[Tensor, list[int]]:
        """Nodes ``[N]`` in the order of their degrees, and how many nodes there are of each degree from 0 on."""
        degree = self.degree.long()
        return torch.argsort(degree, stable=True), torch.bincount(degree).tolist()

    @cached_property
    def compressed_rows(self) -> CompressedRows:
        """The edges of each node as :data:`CompressedRows`, on the CPU."""
        kind = torch.zeros_like(self.source) if self.kind_of_edge is None else self.kind_of_edge
        num_kinds = len(self.kind_features) if self.kind_features is not None else 1
        # edges of the same target, source and kind are equal: they have the same number here, and are counted
        number = (self.target * self.num_nodes + self.source) * num_kinds + kind
        _, first, counts = np.unique(number.numpy(), return_index=True, return_counts=True)
        order = np.argsort(first)  # edges are sorted by target, and so are these
        first, counts = first[order], counts[order]
        starts = np.searchsorted(self.target.numpy()[first], np.arange(self.num_nodes + 1))
        inverse_degree = (1 / self.degree.clamp(min=1)).numpy()
        sources, kinds = self.source.numpy()[first], kind.numpy()[first]
        return starts, sources, kinds, counts.astype(inverse_degree.dtype), inverse_degree

    def _extrema(self, values: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Return the minimum and maximum ``[M, N, B, F]`` of the values at each node's slots, 0 at isolated nodes."""
        if values.shape[1] == 0 or slots.shape[0] == 0:
            zeros = values.new_zeros(values.shape[0], self.num_nodes, *values.shape[2:])
            return zeros, zeros
        lowest, highest = arg_extrema(values.detach(), slots)
        # Gathering by a constant index keeps the backward pass (and the second one) at one
        # value per node, where reducing a materialised neighbourhood keeps K of them.
        return self.zero_isolated(values.gather(1, lowest)), self.zero_isolated(values.gather(1, highest))


def make(
    num_nodes: int,
    edge_index: Tensor,
    edge_attr: Tensor | None,
    *,
    dtype: torch.dtype,
    shared: bool,
    kind: Tensor | None = None,
) -> Topology:
    """Return the topology of ``num_nodes`` nodes with the given edges.

    Args:
        num_nodes: N.
        edge_index: ``[2, E]`` int64, sources and targets, sorted by target, then source.
        edge_attr: ``[E, D]`` features of each edge, or None; with ``kind``, the features of each kind ``[K, D]``.
        dtype: floating dtype of the node values.
        shared: whether many graphs share the topology, so that it pays to search for edges of equal features and to
            have a dense adjacency.
        kind: ``[E]`` int64, which row of ``edge_attr`` holds an edge's features, if that is known beforehand.
    """
    source, target = edge_index
    degree = torch.bincount(target, minlength=num_nodes)
    adjacency = None
    if shared and num_nodes <= MAX_DENSE_NODES:
        adjacency = torch.zeros(num_nodes, num_nodes, dtype=dtype, device=source.device)
        adjacency.index_put_((target, source), torch.ones_like(source, dtype=dtype), accumulate=True)
    edge_slots = padded_slots(degree, torch.arange(len(source), device=source.device))
    if len(source):
        # edges of the same two nodes follow each other in this order, so the first of them stands for a distinct source
        is_first = torch.ones_like(source, dtype=torch.bool)
        is_first[1:] = (source[1:] != source[:-1]) | (target[1:] != target[:-1])
        source_slots = padded_slots(torch.bincount(target[is_first], minlength=num_nodes), source[is_first])
    else:
        source_slots = edge_slots
    edgeless = degree == 0
    isolated = edgeless[:, None, None] if bool(edgeless.any()) else None
    degree, kinds = degree.to(dtype), edge_attr
    if kinds is not None and kind is None:
        kind = torch.arange(len(source), device=source.device)
        if shared:
            kinds, kind = distinct_rows(kinds)
    kinds = None if kinds is None else kinds[:, None]
    return Topology(num_nodes, source, target, degree, adjacency, source_slots, edge_slots, kinds, kind, isolated)


def distinct_rows(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct rows of ``values`` ``[R, D]``, and for each row which of them it equals ``[R]``."""
    rows, index = torch.unique(values, dim=0, return_inverse=True)
    return rows, index
