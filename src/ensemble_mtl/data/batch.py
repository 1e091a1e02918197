"""A batch: node inputs, edges and targets of a selection of graphs, as tensors on the device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ensemble_mtl.data.topology import Topology

if TYPE_CHECKING:
    from torch_geometric.data import Batch


@dataclass(frozen=True)
class GraphBatch:
    """Graphs that share a topology (B graphs of N nodes), or that lie end to end (B = 1).

    Attributes:
        x: ``[1, N, B, F]`` normalised node inputs, the same for every member.
        topology: edges among the N nodes.
        graph_of_node: ``[N]`` graph number of each node, or None where the topology is shared.
        num_graphs: G, the number of graphs; equal to B where the topology is shared.
        targets: task -> ``[G]`` (graph level) or ``[N, B]`` (node level), normalised; 0 where
            the label is missing.
        labelled: task -> mask of the targets' shape, 1 where there is a label and else 0; only for
            tasks that lack a label somewhere in the data set.
    """

    x: Tensor
    topology: Topology
    graph_of_node: Tensor | None
    num_graphs: int
    targets: dict[str, Tensor]
    labelled: dict[str, Tensor]

    def pool(self, x: Tensor, how: Literal["mean", "sum"]) -> Tensor:
        """Return the mean or sum over the nodes of each graph, from ``[M, N, B, F]`` to ``[M, G, F]``."""
        if self.graph_of_node is None:
            return x.mean(1) if how == "mean" else x.sum(1)
        flat = x.squeeze(2)
        total = flat.new_zeros(flat.shape[0], self.num_graphs, flat.shape[2]).index_add(1, self.graph_of_node, flat)
        if how == "sum":
            return total
        count = torch.bincount(self.graph_of_node, minlength=self.num_graphs)
        return total / count[:, None].to(x.dtype)

    def separated(self) -> GraphBatch:
        """Return the same graphs for a pass in which every row of every layer belongs to a single graph.

        See :meth:`ensemble_mtl.data.topology.Topology.separated`.
        """
        return replace(self, topology=self.topology.separated(self.graph_of_node, self.num_graphs))

    def possible_graphs_of_rows(self, num_rows: int) -> list[Tensor]:
        """Return the candidates for the graph of each row of a layer, in a pass over :meth:`separated`.

        Layers are applied to nodes, to nodes of one degree or of all degrees above it, to edges or kinds of edges, to
        edges with those that convolutions add from each node to itself, and to graphs. The number of rows does not
        tell which of these a layer is applied to, so there may be several candidates.

        Args:
            num_rows: number of rows of the layer. A single row counts as two, since products pad it by zeros.

        Returns:
            Each candidate is ``[num_rows]``, the graph of each row; the list is empty if none is possible.
        """
        graphs = torch.arange(self.num_graphs, device=self.x.device)
        if self.graph_of_node is None:  # the last axis of rows is that of the graphs
            return [graphs.repeat(num_rows // self.num_graphs)] if num_rows % self.num_graphs == 0 else []
        candidates = [self.graph_of_node, *self._graphs_of_edges(), *self._graphs_of_nodes_by_degree(), graphs]
        padded = [candidate.repeat(2) for candidate in candidates if len(candidate) == 1]
        return [candidate for candidate in (*candidates, *padded) if len(candidate) == num_rows]

    def _graphs_of_edges(self) -> list[Tensor]:
        """Return the graph of each edge, of each edge with those from each node to itself, and of each kind."""
        topology, nodes = self.topology, self.graph_of_node
        assert nodes is not None  # noqa: S101 - the caller has checked it
        edges = nodes.index_select(0, topology.target)
        looped = nodes.index_select(0, topology.with_self_loops.target)
        if topology.kind_of_edge is None or topology.kind_features is None:
            return [edges, looped]
        # in a separated topology all edges of a kind are in one graph, so it does not matter which of them writes last
        kinds = nodes.new_zeros(len(topology.kind_features)).index_copy(0, topology.kind_of_edge, edges)
        return [edges, looped, kinds]

    def _graphs_of_nodes_by_degree(self) -> list[Tensor]:
        """Return, for each degree from 0 on, the graphs of the nodes of that degree, and of that degree or more."""
        assert self.graph_of_node is not None  # noqa: S101 - the caller has checked it
        order, counts = self.topology.nodes_by_degree
        nodes = self.graph_of_node.index_select(0, order)
        starts = [sum(counts[:degree]) for degree in range(len(counts))]
        return [
            nodes[start:end]
            for start, count in zip(starts, counts, strict=True)
            for end in (start + count, None)  # None: to the end of the list
        ]

    def to_pyg(self) -> Batch:
        """Return the same graphs as PyG's ``Batch``, so that any PyG layer can be run on them.

        Nodes are numbered graph by graph, and ``y_<task>`` holds the targets in that order,
        NaN where a label is missing.
        """
        from torch_geometric.data import Batch

        topology, batch_axis = self.topology, self.x.shape[2]
        edge_index = torch.stack([topology.source, topology.target])
        offset = torch.arange(batch_axis, device=edge_index.device) * topology.num_nodes
        graph_of_node = self.graph_of_node
        if graph_of_node is None:
            graph_of_node = torch.arange(batch_axis, device=edge_index.device).repeat_interleave(topology.num_nodes)
        counts = torch.bincount(graph_of_node, minlength=self.num_graphs)
        edge_attr = topology.edge_attr
        batch = Batch(
            x=self.x[0].transpose(0, 1).flatten(0, 1),
            edge_index=(edge_index[:, None] + offset[:, None]).flatten(1),
            edge_attr=None if edge_attr is None else edge_attr.repeat(batch_axis, 1),
            batch=graph_of_node,
            ptr=torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
        )
        for task, values in self.targets.items():
            mask = self.labelled.get(task)
            labels = values if mask is None else values.masked_fill(mask == 0, float("nan"))
            batch[f"y_{task}"] = labels if labels.dim() == 1 else labels.T.flatten()
        return batch
