"""The graph store in memory: columns over all graphs, with each topology that graphs share stored once.

Columns of ranges that lie end to end carry a pointer array of one entry more than there are ranges: range k covers the
entries ``ptr[k]`` to ``ptr[k+1] - 1``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.data.graph import FloatArray, IntArray, TargetInfo


@dataclass(frozen=True)
class Topologies:
    """The K distinct sets of sites and edges; a lattice shared by all graphs is one entry.

    Attributes:
        node_ptr: ``[K + 1]``; topology ``k`` has the nodes ``node_ptr[k]:node_ptr[k+1]``.
        edge_ptr: ``[K + 1]``; topology ``k`` has the edges ``edge_ptr[k]:edge_ptr[k+1]``.
        edge_index: ``[2, E]``, row 0 the source j, row 1 the target i of a message j -> i;
            indices are local to the topology, from 0; edges are sorted by target, then source, then
            length. Periodic images give several edges of one pair of sites (and edges i -> i).
        edge_length: ``[E]`` in ångström; NaN where the source gave bonds without positions.
        positions: ``[nodes, 3]`` in ångström; NaN where the source gave none.
        cells: ``[K, 3, 3]`` lattice vectors as rows, in ångström; NaN where the source gave none.
        bond_kind: ``[E]`` int16 index into the store's ``bond_kinds``; None where positions made
            the edges. Bonds are sorted by target, then source, then kind.
    """

    node_ptr: IntArray
    edge_ptr: IntArray
    edge_index: IntArray
    edge_length: FloatArray
    positions: FloatArray
    cells: FloatArray
    bond_kind: NDArray[np.int16] | None = None

    def __len__(self) -> int:
        return len(self.node_ptr) - 1

    def num_nodes(self, k: int) -> int:
        """Return the number of nodes of topology ``k``."""
        return int(self.node_ptr[k + 1] - self.node_ptr[k])

    def edges(self, k: int) -> IntArray:
        """Return the edge index ``[2, E_k]`` of topology ``k``, in its local node numbers."""
        return self.edge_index[:, self.edge_ptr[k] : self.edge_ptr[k + 1]]


@dataclass(frozen=True)
class GraphStore:
    """All G graphs of a data set as columns over the graphs, or over all of their N nodes.

    Attributes:
        names: ``[G]`` names of the graphs.
        node_ptr: ``[G + 1]``; graph ``g`` has the nodes ``node_ptr[g]:node_ptr[g+1]``.
        atomic_numbers: ``[N]`` proton numbers.
        topology: ``[G]`` index into ``topologies``.
        topologies: the distinct topologies.
        targets: target name -> ``[G]`` (graph level) or ``[N]`` (node level) float64 in the
            unit of its ``TargetInfo``; NaN is a missing label.
        info: the targets' names, levels and units.
        sha256: hash of the content of all columns.
        provenance: where the data come from: ``source`` (its options), ``notes``, ``skipped``, ``synthetic``.
        bond_kinds: names of the kinds of bonds; empty where positions made the edges.
    """

    names: list[str]
    node_ptr: IntArray
    atomic_numbers: NDArray[np.int16]
    topology: IntArray
    topologies: Topologies
    targets: dict[str, FloatArray]
    info: tuple[TargetInfo, ...]
    sha256: str
    provenance: dict[str, Any]
    bond_kinds: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.node_ptr) - 1

    def target_info(self, name: str) -> TargetInfo:
        """Return level, unit and description of the target ``name``.

        Raises:
            KeyError: the store has no such target.
        """
        return {info.name: info for info in self.info}[name]
