"""A batch: node inputs, edges and targets of some graphs, as tensors on the device."""

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
    """Graphs that share a topology (B graphs of N nodes), or lie end to end (B = 1).

    Attributes:
        x: ``[1, N, B, F]`` normalised node inputs, the same for every member.
        topology: edges among the N nodes.
        graph_of_node: ``[N]`` graph number of each node, or None where the topology is shared.
        num_graphs: G; equal to B where the topology is shared.
        targets: task -> ``[G]`` (graph level) or ``[N, B]`` (node level), normalised; 0 where
            the label is missing.
        labelled: task -> 1 where there is a label and else 0, of the targets' shape; only for
            tasks that lack some label in the data set.
    """

    x: Tensor
    topology: Topology
    graph_of_node: Tensor | None
    num_graphs: int
    targets: dict[str, Tensor]
    labelled: dict[str, Tensor]

    def pool(self, x: Tensor, how: Literal["mean", "sum"]) -> Tensor:
        """Node values ``[M, N, B, F]`` to graph values ``[M, G, F]``."""
        if self.graph_of_node is None:
            return x.mean(1) if how == "mean" else x.sum(1)
        flat = x.squeeze(2)
        total = flat.new_zeros(flat.shape[0], self.num_graphs, flat.shape[2]).index_add(1, self.graph_of_node, flat)
        if how == "sum":
            return total
        count = torch.bincount(self.graph_of_node, minlength=self.num_graphs)
        return total / count[:, None].to(x.dtype)

    def apart(self) -> GraphBatch:
        """The same graphs, for a pass in which every row of every layer belongs to a single graph."""
        return replace(self, topology=self.topology.apart(self.graph_of_node, self.num_graphs))

    def possible_graphs_of_rows(self, count: int) -> list[Tensor]:
        """Of a layer with so many rows in a pass over :meth:`apart`: ``[count]`` the graph of each row.

        Layers are applied to nodes, to nodes of one degree or of all degrees above it, to edges or kinds of edges, to
        edges with those that convolutions add from each node to itself, and to graphs.

        Returns:
            what is possible for that number of rows, since it does not tell which of them a layer is applied to. A
            single row counts as two, since products pad it by zeros.
        """
        graphs = torch.arange(self.num_graphs, device=self.x.device)
        if self.graph_of_node is None:  # the last axis of rows is that of the graphs
            return [graphs.repeat(count // self.num_graphs)] if count % self.num_graphs == 0 else []
        topology, nodes = self.topology, self.graph_of_node
        looped = topology.with_self_loops
        edges = [nodes.index_select(0, target) for target in (topology.target, looped.target)]
        if topology.kind is not None and topology.kinds is not None:
            # each kind's row belongs to one graph here, so it does not matter which of its edges writes last
            of_kinds = nodes.new_zeros(len(topology.kinds)).index_copy(0, topology.kind, edges[0])
            edges.append(of_kinds)
        order, counts = topology.nodes_by_degree
        by_degree = nodes.index_select(0, order)
        starts = [sum(counts[:degree]) for degree in range(len(counts))]
        parts = [by_degree[at:end] for at, size in zip(starts, counts, strict=True) for end in (at + size, None)]
        every = [nodes, *edges, *parts, graphs]
        padded = [labels.repeat(2) for labels in every if len(labels) == 1]
        return [labels for labels in (*every, *padded) if len(labels) == count]

    def to_pyg(self) -> Batch:
        """The same graphs as PyG's ``Batch``, so that any PyG layer can be run on them.

        Nodes are numbered graph by graph, ``y_<task>`` holds the targets in that order,
        NaN where a label is missing.
        """
        from torch_geometric.data import Batch

        topology, graphs = self.topology, self.x.shape[2]
        edge_index = torch.stack([topology.source, topology.target])
        offset = torch.arange(graphs, device=edge_index.device) * topology.num_nodes
        graph_of_node = self.graph_of_node
        if graph_of_node is None:
            graph_of_node = torch.arange(graphs, device=edge_index.device).repeat_interleave(topology.num_nodes)
        counts = torch.bincount(graph_of_node, minlength=self.num_graphs)
        edge_attr = topology.edge_attr
        batch = Batch(
            x=self.x[0].transpose(0, 1).flatten(0, 1),
            edge_index=(edge_index[:, None] + offset[:, None]).flatten(1),
            edge_attr=None if edge_attr is None else edge_attr.repeat(graphs, 1),
            batch=graph_of_node,
            ptr=torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
        )
        for task, values in self.targets.items():
            mask = self.labelled.get(task)
            known = values if mask is None else values.masked_fill(mask == 0, float("nan"))
            batch[f"y_{task}"] = known if known.dim() == 1 else known.T.flatten()
        return batch
