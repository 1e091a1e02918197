"""The graph store as tensors on the device; a batch is an index into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ensemble_mtl.config.sections import GraphConfig
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data import topology as topologies
from ensemble_mtl.data import vocabulary
from ensemble_mtl.data.batch import GraphBatch
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.normalizer import Normalizer

LENGTH_DECIMALS = 9
"""In Å, far below what any source knows; so edges of a lattice that are equally long have the same features."""

LOOKED_AT, FEW_KINDS = 4096, 256
"""Alike edges of separate graphs are looked for if so many of them are of few kinds, as bonds are and lengths are not:
to sort all lengths of a large data set would take long and find nothing."""


class Inputs(NamedTuple):
    """What the model sees, as :func:`inputs` makes it.

    Attributes:
        nodes: ``[nodes, F]`` normalised node inputs.
        edges: ``[edges, D]`` features of the topologies' edges (kinds of bonds, or lengths), or None.
    """

    nodes: np.ndarray
    edges: np.ndarray | None

    @property
    def widths(self) -> tuple[int, int]:
        """F and D, the latter 0 without features of edges."""
        return self.nodes.shape[1], 0 if self.edges is None else self.edges.shape[1]


class GraphTable:
    """Normalised inputs and targets of all graphs.

    Where all graphs share one topology, node columns are ``[N, G, …]`` and a batch is a
    selection along G; else they are flat and a batch is a set of ranges.

    Args:
        store: the columns.
        inputs: of nodes and edges.
        targets: task -> target name and its normaliser.
        dtype: of all floating columns.
        device: where they live.
    """

    def __init__(
        self,
        store: GraphStore,
        inputs: Inputs,
        targets: Mapping[str, tuple[str, Normalizer]],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        def column(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values, dtype=dtype, device=device)

        def integers(values: np.ndarray) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(values, dtype=np.int64), device=device)

        self.num_graphs = len(store)
        self._shared: topologies.Topology | None = None
        self._labelled: dict[str, Tensor] = {}
        x = inputs.nodes
        self._edge_attr = None if inputs.edges is None else column(inputs.edges)
        scaled = {task: normalizer.forward(store.targets[name]) for task, (name, normalizer) in targets.items()}
        levels = {task: store.target_info(name).level for task, (name, _) in targets.items()}
        self.node_tasks = frozenset(task for task, level in levels.items() if level == "node")
        masks = {task: ~np.isnan(values) for task, values in scaled.items() if np.isnan(values).any()}
        scaled = {task: np.nan_to_num(values) for task, values in scaled.items()}
        if len(store.topologies) == 1:
            nodes, edges = store.topologies.num_nodes(0), integers(store.topologies.edges(0))
            self._shared = topologies.make(nodes, edges, self._edge_attr, dtype=dtype, shared=True)
            by_node = (self.num_graphs, nodes)
            self._x = column(x.reshape(*by_node, -1).transpose(1, 0, 2).copy())

            def columns(tasks: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
                return {
                    task: column(values.reshape(by_node).T.copy() if task in self.node_tasks else values)
                    for task, values in tasks.items()
                }

            self._targets, self._labelled = columns(scaled), columns(masks)
            return
        self._x = column(x)
        self._targets = {task: column(values) for task, values in scaled.items()}
        self._labelled = {task: column(values) for task, values in masks.items()}
        self._node_start, self._num_nodes = integers(store.node_ptr[:-1]), integers(np.diff(store.node_ptr))
        edge_ptr = store.topologies.edge_ptr
        self._edge_start = integers(edge_ptr[:-1][store.topology])
        self._num_edges = integers(np.diff(edge_ptr)[store.topology])
        self._edge_index = integers(store.topologies.edge_index)
        self._kinds: Tensor | None = None
        if self._edge_attr is not None and len(self._edge_attr[:LOOKED_AT].unique(dim=0)) <= FEW_KINDS:
            self._kinds, self._kind = topologies.distinct_rows(self._edge_attr)

    @property
    def shared(self) -> bool:
        """Whether all graphs share one topology; then batches of one size have the same shapes."""
        return self._shared is not None

    def batch(self, graphs: Tensor) -> GraphBatch:
        """The graphs with the given indices ``[G]`` (int64, on the table's device)."""
        if self._shared is not None:
            x = self._x.index_select(1, graphs)[None]

            def chosen(columns: dict[str, Tensor]) -> dict[str, Tensor]:
                axis = {task: 1 if task in self.node_tasks else 0 for task in columns}
                return {task: values.index_select(axis[task], graphs) for task, values in columns.items()}

            return GraphBatch(x, self._shared, None, len(graphs), chosen(self._targets), chosen(self._labelled))
        return self._ragged(graphs)

    def _ragged(self, graphs: Tensor) -> GraphBatch:
        num_nodes, num_edges = self._num_nodes[graphs], self._num_edges[graphs]
        nodes = _ranges(self._node_start[graphs], num_nodes)
        edges = _ranges(self._edge_start[graphs], num_edges)
        offset = (num_nodes.cumsum(0) - num_nodes).repeat_interleave(num_edges)
        edge_attr, kind = None if self._edge_attr is None else self._edge_attr[edges], None
        if self._kinds is not None and len(self._kinds) < len(edges):
            edge_attr, kind = self._kinds, self._kind[edges]
        topology = topologies.make(
            len(nodes), self._edge_index[:, edges] + offset, edge_attr, dtype=self._x.dtype, shared=False, kind=kind
        )
        graph_of_node = torch.arange(len(graphs), device=graphs.device).repeat_interleave(num_nodes)

        def chosen(columns: dict[str, Tensor]) -> dict[str, Tensor]:
            return {
                task: values[nodes][:, None] if task in self.node_tasks else values[graphs]
                for task, values in columns.items()
            }

        x = self._x[nodes][None, :, None]
        return GraphBatch(x, topology, graph_of_node, len(graphs), chosen(self._targets), chosen(self._labelled))


def _ranges(starts: Tensor, lengths: Tensor) -> Tensor:
    """``start, start + 1, …`` of every range, end to end."""
    before = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    return starts.repeat_interleave(lengths) + torch.arange(len(before), device=starts.device) - before


def inputs(store: GraphStore, graph: GraphConfig, normalizer: Normalizer, num_gaussians: int | None) -> Inputs:
    """All that the model sees of the store; arguments and errors as of the functions below."""
    bonds = bond_inputs(store, graph)
    edges = edge_inputs(store, graph.radius_angstrom, num_gaussians) if bonds is None else bonds
    return Inputs(node_inputs(store, graph, normalizer), edges)


def node_inputs(store: GraphStore, graph: GraphConfig, normalizer: Normalizer) -> np.ndarray:
    """``[nodes, F]`` inputs: normalised proton numbers, or one-hot elements.

    Raises:
        DataError: an atom's element is not among those listed for one-hot inputs.
    """
    numbers = vocabulary.elements(store, graph)
    if numbers is None:
        return normalizer.forward(store.atomic_numbers.astype(np.float64))[:, None]
    return (store.atomic_numbers[:, None] == numbers).astype(np.float64)


def bond_inputs(store: GraphStore, graph: GraphConfig) -> np.ndarray | None:
    """``[edges, D]`` one-hot kinds of the given bonds, or None if the configuration asks for none.

    Raises:
        DataError: the source gives no bonds, or one of a kind that is not listed.
    """
    kinds = vocabulary.bonds(store, graph)
    if not kinds:  # none was asked for, or none found among single atoms
        return None
    names = np.array(store.bond_kinds)[store.topologies.bond_kind]
    return (names[:, None] == np.array(kinds)).astype(np.float64)


def edge_inputs(store: GraphStore, radius_angstrom: float, num_gaussians: int | None) -> np.ndarray | None:
    """``[edges, D]`` Gaussian expansion of the edge lengths (Xie and Grossman 2018), or None.

    The D centres are equally spaced on [0, radius] and each Gaussian is as wide as the spacing.

    Raises:
        DataError: an edge has no length, since the source gave bonds without positions.
    """
    if num_gaussians is None:
        return None
    lengths = store.topologies.edge_length.round(LENGTH_DECIMALS)
    if np.isnan(lengths).any():
        raise DataError(
            f"model.edge_basis: {int(np.isnan(lengths).sum())} of {len(lengths)} edges have no length, since the "
            "source gives bonds without positions; leave edge_basis out"
        )
    centers = np.linspace(0.0, radius_angstrom, num_gaussians)
    width = radius_angstrom / max(num_gaussians - 1, 1)
    return np.exp(-(((lengths[:, None] - centers) / width) ** 2))
