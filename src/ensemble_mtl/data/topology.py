"""Edges of a batch, and the sums and extrema over neighbours that convolutions need.

Node values have shape ``[M, N, B, F]``: member, node, graph, feature. Graphs that share a
topology differ only along B, so one topology of N nodes serves all of them and a sum over
neighbours is one small matrix product. Graphs with topologies of their own are laid end to
end along N, with B = 1. Convolutions are written once for both.
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

MAX_DENSE_NODES = 512
"""Up to this size a shared topology sums over neighbours by a dense matrix."""


Rows = tuple[NDArray[Any], ...]
"""For compiled loops, of each node: where its distinct edges begin ``[N + 1]``; their sources ``[R]``, kinds ``[R]``,
and how often each occurs ``[R]``; and 1 / degree ``[N]``, at most 1."""


@dataclass(frozen=True)
class Topology:
    """Directed edges j -> i, sorted by target.

    Attributes:
        num_nodes: N.
        source: ``[E]`` int64, j.
        target: ``[E]`` int64, i.
        degree: ``[N]`` number of incoming edges, in the floating dtype of the data.
        adjacency: ``[N, N]`` number of edges j -> i in row i, or None where that would be
            large.
        source_slots: ``[K, N]`` int64, the distinct sources of each node; a node with fewer
            than K repeats one, which changes no extremum.
        edge_slots: ``[K', N]`` int64, the incoming edges of each node, padded likewise.
        kinds: ``[K, 1, D]`` features that edges have, or None; ``[K, B, D]`` where each graph has rows of its own.
        kind: ``[E]`` int64, which of the kinds an edge is of, or None.
        lone: ``[N, 1, 1]`` bool, whether a node has no neighbour; None where all have one.
        num_separate_graphs: B in a pass that tells the gradients of single graphs apart (:meth:`apart`), otherwise 0.
    """

    num_nodes: int
    source: Tensor
    target: Tensor
    degree: Tensor
    adjacency: Tensor | None
    source_slots: Tensor
    edge_slots: Tensor
    kinds: Tensor | None
    kind: Tensor | None
    lone: Tensor | None
    num_separate_graphs: int = 0

    @cached_property
    def edge_attr(self) -> Tensor | None:
        """``[E, D]`` edge features, or None."""
        return None if self.kinds is None or self.kind is None else self.kinds[:, 0].index_select(0, self.kind)

    def of_kinds(self, terms: Tensor) -> Tensor:
        """Terms of the kinds of edges ``[M, K, 1 or B, F]`` at the edges: ``[M, E, 1 or B, F]``."""
        assert self.kind is not None  # noqa: S101 - for the type checker
        return terms.index_select(1, self.kind)

    def mask_lone(self, x: Tensor) -> Tensor:
        """``x`` with 0 at nodes that have no neighbour."""
        return x if self.lone is None else x.masked_fill(self.lone, 0.0)

    def per_node(self, values: Tensor) -> Tensor:
        """``[N]`` as ``[N, 1, 1]``, to scale node values."""
        return values[:, None, None]

    def sum_sources(self, x: Tensor) -> Tensor:
        """Σ over edges j -> i of ``x_j``: ``[M, N, B, F]`` to the same shape."""
        if self.adjacency is not None:
            return product(self.adjacency[None], x.flatten(2)).view(x.shape)
        return self.sum_edges(x.index_select(1, self.source))

    def sum_edges(self, edges: Tensor) -> Tensor:
        """Σ over incoming edges: ``[M, E, B, F]`` to ``[M, N, B, F]``."""
        shape = (edges.shape[0], self.num_nodes, *edges.shape[2:])
        return edges.new_zeros(shape).index_add(1, self.target, edges)

    def source_extrema(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Least and greatest ``y_j`` over neighbours j, elementwise; 0 for a lone node."""
        return self._extrema(y, self.source_slots)

    def edge_extrema(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Least and greatest value over incoming edges; 0 for a lone node."""
        return self._extrema(edges, self.edge_slots)

    def edge_softmax(self, scores: Tensor) -> Tensor:
        """Softmax of ``[M, E, B, H]`` over the edges that enter one node."""
        if scores.shape[1] == 0:
            return scores
        # A softmax does not depend on what is subtracted, so the peak needs no gradient.
        constant = scores.detach()
        peak = constant.index_select(1, self.edge_slots[0])
        for slot in self.edge_slots[1:]:
            peak = torch.maximum(peak, constant.index_select(1, slot))
        weights = (scores - peak.index_select(1, self.target)).exp()
        return weights / self.sum_edges(weights).index_select(1, self.target)

    @cached_property
    def with_self_loops(self) -> Topology:
        """The same graph with exactly one edge i -> i at each node.

        Edges i -> i that are there are removed; the features of the new one are the mean
        over the node's remaining edges, 0 if there are none (as in PyG).
        """
        kept = torch.nonzero(self.source != self.target).flatten()
        nodes = torch.arange(self.num_nodes, device=self.target.device)
        edge_index = torch.stack([torch.cat([self.source[kept], nodes]), torch.cat([self.target[kept], nodes])])
        order = torch.argsort(edge_index[1] * self.num_nodes + edge_index[0], stable=True)
        edge_attr = self.edge_attr
        if edge_attr is not None:
            edge_attr = edge_attr[kept]
            total = edge_attr.new_zeros(self.num_nodes, edge_attr.shape[1]).index_add(0, self.target[kept], edge_attr)
            count = torch.bincount(self.target[kept], minlength=self.num_nodes).clamp(min=1)
            edge_attr = torch.cat([edge_attr, total / count[:, None]])[order]
        shared = self.adjacency is not None
        found = make(self.num_nodes, edge_index[:, order], edge_attr, dtype=self.degree.dtype, shared=shared)
        return found.repeated(self.num_separate_graphs) if self.num_separate_graphs else found

    def apart(self, graph_of_node: Tensor | None, num_graphs: int) -> Topology:
        """The same edges, for a pass in which every row of every layer belongs to a single graph.

        Otherwise the row of a kind of edge serves all graphs that have such edges. Here each graph has rows of its
        own, and convolutions apply each weight to rows as it stands, instead of multiplying weights beforehand.

        Args:
            graph_of_node: ``[N]`` graph of each node; None where the graphs share this topology.
            num_graphs: G.
        """
        if graph_of_node is None:
            return self.repeated(num_graphs)
        if self.kinds is None or self.kind is None:
            return replace(self, num_separate_graphs=1)
        name = graph_of_node.index_select(0, self.target) * len(self.kinds) + self.kind
        pairs, kind = torch.unique(name, return_inverse=True)
        return replace(
            self, kinds=self.kinds.index_select(0, pairs % len(self.kinds)), kind=kind, num_separate_graphs=1
        )

    def repeated(self, graphs: int) -> Topology:
        """:meth:`apart` for ``graphs`` that share this topology."""
        kinds = None if self.kinds is None else self.kinds.expand(-1, graphs, -1)
        return replace(self, kinds=kinds, num_separate_graphs=graphs)

    @cached_property
    def nodes_by_degree(self) -> tuple[Tensor, list[int]]:
        """``[N]`` nodes in the order of their degrees, and how many there are of each degree from 0 on."""
        degree = self.degree.long()
        return torch.argsort(degree, stable=True), torch.bincount(degree).tolist()

    @cached_property
    def neighbours(self) -> Rows:
        """The edges of each node, alike ones once."""
        kind = torch.zeros_like(self.source) if self.kind is None else self.kind
        name = (self.target * self.num_nodes + self.source) * (len(self.kinds) if self.kinds is not None else 1) + kind
        _, first, counts = np.unique(name.numpy(), return_index=True, return_counts=True)
        order = np.argsort(first)  # edges are sorted by target, and so are these
        first, counts = first[order], counts[order]
        starts = np.searchsorted(self.target.numpy()[first], np.arange(self.num_nodes + 1))
        inverse = (1 / self.degree.clamp(min=1)).numpy()
        return starts, self.source.numpy()[first], kind.numpy()[first], counts.astype(inverse.dtype), inverse

    def _extrema(self, values: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        if values.shape[1] == 0 or slots.shape[0] == 0:
            zeros = values.new_zeros(values.shape[0], self.num_nodes, *values.shape[2:])
            return zeros, zeros
        lowest, highest = _arg_extrema(values.detach(), slots)
        # Gathering by a constant index keeps the backward pass (and the second one) at one
        # value per node, where reducing a materialised neighbourhood keeps K of them.
        return self.mask_lone(values.gather(1, lowest)), self.mask_lone(values.gather(1, highest))


def _arg_extrema(values: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """Where, along axis 1, the least and the greatest of each node's slots stand."""
    low = high = values.index_select(1, slots[0])
    # Slot numbers are kept instead of positions, in the narrowest integers: the last slot
    # that improved on those before it is the greatest number met.
    dtype = torch.uint8 if len(slots) <= 256 else torch.int32
    low_slot = high_slot = torch.zeros_like(low, dtype=dtype)
    for k, slot in enumerate(slots[1:], start=1):
        candidate = values.index_select(1, slot)
        low_slot = torch.maximum(low_slot, (candidate < low).to(dtype) * k)
        high_slot = torch.maximum(high_slot, (candidate > high).to(dtype) * k)
        low, high = torch.minimum(low, candidate), torch.maximum(high, candidate)
    num_nodes = slots.shape[1]
    node = torch.arange(num_nodes, device=slots.device)[:, None, None]
    return slots.take(low_slot.long() * num_nodes + node), slots.take(high_slot.long() * num_nodes + node)


def make(
    num_nodes: int,
    edge_index: Tensor,
    edge_attr: Tensor | None,
    *,
    dtype: torch.dtype,
    shared: bool,
    kind: Tensor | None = None,
) -> Topology:
    """The topology of ``num_nodes`` nodes.

    Args:
        num_nodes: N.
        edge_index: ``[2, E]``, sources and targets, sorted by target, then source.
        edge_attr: ``[E, D]`` or None; with ``kind``, the features of each kind ``[K, D]``.
        dtype: of the node values.
        shared: whether many graphs share it, so that it pays to look for alike edges and to have a dense adjacency.
        kind: ``[E]``, which kind an edge is of; found if it is not given.
    """
    source, target = edge_index
    degree = torch.bincount(target, minlength=num_nodes)
    adjacency = None
    if shared and num_nodes <= MAX_DENSE_NODES:
        adjacency = torch.zeros(num_nodes, num_nodes, dtype=dtype, device=source.device)
        adjacency.index_put_((target, source), torch.ones_like(source, dtype=dtype), accumulate=True)
    edge_slots = _slots(degree, torch.arange(len(source), device=source.device))
    if len(source):
        new = torch.ones_like(source, dtype=torch.bool)
        new[1:] = (source[1:] != source[:-1]) | (target[1:] != target[:-1])
        source_slots = _slots(torch.bincount(target[new], minlength=num_nodes), source[new])
    else:
        source_slots = edge_slots
    alone = degree == 0
    lone = alone[:, None, None] if bool(alone.any()) else None
    degree, kinds = degree.to(dtype), edge_attr
    if kinds is not None and kind is None:
        kind = torch.arange(len(source), device=source.device)
        if shared:
            kinds, kind = distinct_rows(kinds)
    kinds = None if kinds is None else kinds[:, None]
    return Topology(num_nodes, source, target, degree, adjacency, source_slots, edge_slots, kinds, kind, lone)


def distinct_rows(values: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows, and which of them each row is."""
    found, place = torch.unique(values, dim=0, return_inverse=True)
    return found, place


def _slots(counts: Tensor, items: Tensor) -> Tensor:
    """``[K, N]``: the k-th of each node's items, the last one repeated; 0 if it has none."""
    width = int(counts.max()) if len(counts) else 0
    if width == 0:
        return items.new_zeros(0, len(counts))
    start = counts.cumsum(0) - counts
    steps = torch.arange(width, device=items.device)[:, None]
    at = start + torch.minimum(steps, (counts - 1).clamp(min=0))
    return items[at.clamp(max=len(items) - 1)]
