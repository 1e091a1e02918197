"""The graph store as tensors on the device, from which batches are selected by index."""

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
"""Edge lengths are rounded to so many decimals of an ångström, far below the precision of any source; so edges of a
lattice that are equally long have exactly the same features."""

NUM_INSPECTED_EDGES, MAX_KINDS = 4096, 256
"""Edges of separate graphs are searched for equal features if this number of them have at most so many different
features, as bonds do and lengths do not: sorting all lengths of a large data set takes long and finds no equal ones."""


class Inputs(NamedTuple):
    """What the model sees of a data set, as :func:`inputs` makes it.

    Attributes:
        nodes: ``[nodes, F]`` normalised node inputs.
        edges: ``[edges, D]`` features of the topologies' edges (kinds of bonds, or lengths), or None.
    """

    nodes: np.ndarray
    edges: np.ndarray | None

    @property
    def widths(self) -> tuple[int, int]:
        """F and D; D is 0 without features of edges."""
        return self.nodes.shape[1], 0 if self.edges is None else self.edges.shape[1]


class GraphTable:
    """Normalised inputs and targets of all graphs, on the device.

    Where all graphs share one topology, node columns are ``[N, G, …]`` and a batch is a
    selection along G; else they are flat and a batch is a set of ranges.

    Args:
        store: the data set.
        inputs: inputs of nodes and edges.
        targets: task -> target name and its normaliser.
        dtype: floating dtype of all columns.
        device: where the columns are.
    """

    def __init__(
        self,
        store: GraphStore,
        inputs: Inputs,
        targets: Mapping[str, tuple[str, Normalizer]],
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._dtype, self._device = dtype, device
        self.num_graphs = len(store)
        self._shared: topologies.Topology | None = None
        self._edge_attr = None if inputs.edges is None else self._floats(inputs.edges)
        levels = {task: store.target_info(name).level for task, (name, _) in targets.items()}
        self.node_tasks = frozenset(task for task, level in levels.items() if level == "node")
        scaled = {task: normalizer.forward(store.targets[name]) for task, (name, normalizer) in targets.items()}
        masks = {task: ~np.isnan(values) for task, values in scaled.items() if np.isnan(values).any()}
        scaled = {task: np.nan_to_num(values) for task, values in scaled.items()}
        if len(store.topologies) == 1:
            self._make_shared(store, inputs.nodes, scaled, masks)
        else:
            self._make_flat(store, inputs.nodes, scaled, masks)

    def _make_shared(
        self, store: GraphStore, nodes: np.ndarray, targets: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]
    ) -> None:
        """Set the columns of graphs that share one topology."""
        num_nodes, edge_index = store.topologies.num_nodes(0), self._integers(store.topologies.edges(0))
        self._shared = topologies.make(num_nodes, edge_index, self._edge_attr, dtype=self._dtype, shared=True)
        by_node = (self.num_graphs, num_nodes)
        self._x = self._floats(nodes.reshape(*by_node, -1).transpose(1, 0, 2).copy())

        def columns(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
            return {
                task: self._floats(values.reshape(by_node).T.copy() if task in self.node_tasks else values)
                for task, values in arrays.items()
            }

        self._targets, self._labelled = columns(targets), columns(masks)

    def _make_flat(
        self, store: GraphStore, nodes: np.ndarray, targets: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray]
    ) -> None:
        """Set the columns of graphs with topologies of their own, and where each graph's nodes and edges begin."""
        self._x = self._floats(nodes)
        self._targets = {task: self._floats(values) for task, values in targets.items()}
        self._labelled = {task: self._floats(values) for task, values in masks.items()}
        self._node_start, self._num_nodes = self._integers(store.node_ptr[:-1]), self._integers(np.diff(store.node_ptr))
        edge_ptr = store.topologies.edge_ptr
        self._edge_start = self._integers(edge_ptr[:-1][store.topology])
        self._num_edges = self._integers(np.diff(edge_ptr)[store.topology])
        self._edge_index = self._integers(store.topologies.edge_index)
        self._kinds: Tensor | None = None
        if self._edge_attr is not None and len(self._edge_attr[:NUM_INSPECTED_EDGES].unique(dim=0)) <= MAX_KINDS:
            self._kinds, self._kind = topologies.distinct_rows(self._edge_attr)

    def _floats(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=self._dtype, device=self._device)

    def _integers(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values, dtype=np.int64), device=self._device)

    @property
    def shared(self) -> bool:
        """Whether all graphs share one topology; then batches of one size have the same shapes."""
        return self._shared is not None

    def batch(self, graphs: Tensor) -> GraphBatch:
        """Return the batch of the graphs with the given indices ``[G]`` (int64, on the table's device)."""
        if self._shared is None:
            return self._flat_batch(graphs)
        x = self._x.index_select(1, graphs)[None]

        def selected(columns: dict[str, Tensor]) -> dict[str, Tensor]:
            axis = {task: 1 if task in self.node_tasks else 0 for task in columns}
            return {task: values.index_select(axis[task], graphs) for task, values in columns.items()}

        return GraphBatch(x, self._shared, None, len(graphs), selected(self._targets), selected(self._labelled))

    def _flat_batch(self, graphs: Tensor) -> GraphBatch:
        """Return the batch of graphs with topologies of their own, laid end to end."""
        num_nodes, num_edges = self._num_nodes[graphs], self._num_edges[graphs]
        nodes = _ranges(self._node_start[graphs], num_nodes)
        edges = _ranges(self._edge_start[graphs], num_edges)
        # edges number the nodes of their own graph from 0, so each needs the number of nodes in the graphs before it
        offset = (num_nodes.cumsum(0) - num_nodes).repeat_interleave(num_edges)
        edge_attr, kind = None if self._edge_attr is None else self._edge_attr[edges], None
        if self._kinds is not None and len(self._kinds) < len(edges):
            edge_attr, kind = self._kinds, self._kind[edges]
        topology = topologies.make(
            len(nodes), self._edge_index[:, edges] + offset, edge_attr, dtype=self._dtype, shared=False, kind=kind
        )
        graph_of_node = torch.arange(len(graphs), device=graphs.device).repeat_interleave(num_nodes)

        def selected(columns: dict[str, Tensor]) -> dict[str, Tensor]:
            return {
                task: values[nodes][:, None] if task in self.node_tasks else values[graphs]
                for task, values in columns.items()
            }

        x = self._x[nodes][None, :, None]
        return GraphBatch(x, topology, graph_of_node, len(graphs), selected(self._targets), selected(self._labelled))


def _ranges(starts: Tensor, lengths: Tensor) -> Tensor:
    """Return the integers ``start, start + 1, …`` of ranges of the given lengths, one range after the other."""
    num_before = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    return starts.repeat_interleave(lengths) + torch.arange(len(num_before), device=starts.device) - num_before


def inputs(store: GraphStore, graph: GraphConfig, normalizer: Normalizer, num_gaussians: int | None) -> Inputs:
    """Return all that the model sees of the store.

    Args:
        store: the data set.
        graph: which features nodes and edges have.
        normalizer: normaliser of the proton numbers.
        num_gaussians: number of Gaussians that expand the edge lengths, or None.

    Raises:
        DataError: an element or a kind of bond is not listed, or edges lack what their features are made of.
    """
    bonds = bond_inputs(store, graph)
    edges = edge_inputs(store, graph.radius_angstrom, num_gaussians) if bonds is None else bonds
    return Inputs(node_inputs(store, graph, normalizer), edges)


def node_inputs(store: GraphStore, graph: GraphConfig, normalizer: Normalizer) -> np.ndarray:
    """Return the node inputs ``[nodes, F]``: normalised proton numbers (F = 1), or one-hot elements.

    Raises:
        DataError: an atom's element is not among those listed for one-hot inputs.
    """
    numbers = vocabulary.elements(store, graph)
    if numbers is None:
        return normalizer.forward(store.atomic_numbers.astype(np.float64))[:, None]
    return (store.atomic_numbers[:, None] == numbers).astype(np.float64)


def bond_inputs(store: GraphStore, graph: GraphConfig) -> np.ndarray | None:
    """Return the one-hot kinds ``[edges, D]`` of the source's bonds, or None if the configuration asks for none.

    Raises:
        DataError: the source gives no bonds, or one of a kind that is not listed.
    """
    kinds = vocabulary.bonds(store, graph)
    if not kinds:  # none was asked for, or all graphs are single atoms
        return None
    names = np.array(store.bond_kinds)[store.topologies.bond_kind]
    return (names[:, None] == np.array(kinds)).astype(np.float64)


def edge_inputs(store: GraphStore, radius_angstrom: float, num_gaussians: int | None) -> np.ndarray | None:
    """Return the Gaussian expansion ``[edges, D]`` of the edge lengths (Xie and Grossman 2018), or None.

    The D centres are equally spaced on [0, radius] and each Gaussian is as wide as the spacing.

    Args:
        store: the data set.
        radius_angstrom: the cut-off of the neighbour list.
        num_gaussians: D; None for no features of edges.

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
