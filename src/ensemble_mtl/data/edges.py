"""Edges of all graphs: the bonds that a source gives, or neighbours; equal sets of edges are stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from ensemble_mtl.config.sections import GraphConfig
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.columns import Topologies
from ensemble_mtl.data.graph import Bonds, FloatArray, Graph, IntArray
from ensemble_mtl.data.neighbors import neighbor_list

_UNKNOWN_CELL = np.full((3, 3), np.nan)


@dataclass
class _DistinctTopologies:
    """The distinct topologies met so far, and one entry of each list per topology.

    Attributes:
        numbers: digest of a topology -> its number.
        sizes: numbers of nodes.
        edges: ``[2, E]`` edge indices.
        lengths: ``[E]`` lengths of edges in ångström; NaN for bonds.
        kinds: ``[E]`` kinds of bonds; the list stays empty where positions make the edges.
        positions: ``[nodes, 3]`` in ångström; NaN for bonds.
        cells: ``[3, 3]`` lattice vectors in ångström; NaN where there is no cell.
    """

    numbers: dict[bytes, int] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    edges: list[IntArray] = field(default_factory=list)
    lengths: list[FloatArray] = field(default_factory=list)
    kinds: list[IntArray] = field(default_factory=list)
    positions: list[FloatArray] = field(default_factory=list)
    cells: list[FloatArray] = field(default_factory=list)


def topologies(graphs: list[Graph], config: GraphConfig, bond_kinds: tuple[str, ...]) -> tuple[IntArray, Topologies]:
    """Return the number of each graph's topology ``[G]``, and the distinct topologies.

    Args:
        graphs: all with positions, or all with bonds.
        config: how neighbours are searched for graphs with positions.
        bond_kinds: names of the kinds of bonds; empty if the graphs have positions.

    Raises:
        DataError: a graph has neither positions nor bonds, or both, its bonds are malformed, or its
            neighbours cannot be searched.
    """
    distinct = _DistinctTopologies()
    index = np.empty(len(graphs), dtype=np.int64)
    for g, graph in enumerate(graphs):
        if (graph.bonds is None) == bool(bond_kinds):
            mismatch = "no given bonds" if bond_kinds else "given bonds of unnamed kinds"
            raise DataError(
                f"{graph.name}: got {mismatch}, expected what the source declares for all of its graphs; "
                "correct the source"
            )
        key = _add_bonds(distinct, graph, bond_kinds) if graph.bonds else _add_positions(distinct, graph, config)
        index[g] = distinct.numbers[key]
    return index, Topologies(
        node_ptr=pointer(distinct.sizes),
        edge_ptr=pointer(len(lengths) for lengths in distinct.lengths),
        edge_index=np.concatenate(distinct.edges, axis=1),
        edge_length=np.concatenate(distinct.lengths),
        positions=np.concatenate(distinct.positions),
        cells=np.stack(distinct.cells),
        bond_kind=np.concatenate(distinct.kinds).astype(np.int16) if bond_kinds else None,
    )


def pointer(sizes: Iterable[int]) -> IntArray:
    """Return ``[K + 1]``: where each of K ranges that lie end to end begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(np.fromiter(sizes, dtype=np.int64))]).astype(np.int64)


def _add_positions(distinct: _DistinctTopologies, graph: Graph, config: GraphConfig) -> bytes:
    """Add the topology of a graph with positions, unless it is there already, and return its digest.

    Neighbours depend on positions and cell alone, so graphs that agree in these share the search.
    """
    if graph.positions is None or graph.positions.shape != (len(graph.atomic_numbers), 3):
        raise DataError(
            f"{graph.name}: got no position for each atom, expected x, y, z for each of its "
            f"{len(graph.atomic_numbers)} atoms; correct the source"
        )
    positions = graph.positions + 0.0  # turns -0.0 into 0.0, which is the same site but has other bytes
    cell = b"" if graph.cell is None else graph.cell.tobytes()
    # the salt tells a cell from three more positions, which could have the same bytes
    key = hashlib.blake2b(positions.tobytes() + cell, digest_size=16, salt=b"cell" if cell else b"").digest()
    if key not in distinct.numbers:
        distinct.numbers[key] = len(distinct.numbers)
        try:
            edges, lengths = neighbor_list(positions, graph.cell, config.radius_angstrom, config.periodic)
        except DataError as error:
            raise DataError(f"{graph.name}: {error}") from None
        distinct.sizes.append(len(positions))
        distinct.edges.append(edges)
        distinct.lengths.append(lengths)
        distinct.positions.append(positions)
        distinct.cells.append(_UNKNOWN_CELL if graph.cell is None else graph.cell)
    return key


def _add_bonds(distinct: _DistinctTopologies, graph: Graph, bond_kinds: tuple[str, ...]) -> bytes:
    """Add the topology of a graph with bonds, unless it is there already, and return its digest."""
    assert graph.bonds is not None  # noqa: S101 - the caller has checked it
    num_nodes = len(graph.atomic_numbers)
    if graph.positions is not None or not _is_valid(graph.bonds, num_nodes, len(bond_kinds)):
        raise DataError(
            f"{graph.name}: malformed bonds, expected pairs of its {num_nodes} atoms, each in both directions with "
            f"one kind of {', '.join(bond_kinds)}, and no positions beside them; correct the source"
        )
    # sorted, so that the order in which a source lists the bonds makes no difference
    (source, target), kind = graph.bonds.edge_index, graph.bonds.kind
    order = np.lexsort((kind, source, target))
    edges, kind = np.stack([source[order], target[order]]), kind[order]
    # the number of nodes is a part of the digest, since atoms without bonds appear in no edge
    key = hashlib.blake2b(edges.tobytes() + kind.tobytes(), digest_size=16, salt=b"%d" % num_nodes).digest()
    if key not in distinct.numbers:
        distinct.numbers[key] = len(distinct.numbers)
        distinct.sizes.append(num_nodes)
        distinct.edges.append(edges)
        distinct.lengths.append(np.full(len(kind), np.nan))
        distinct.kinds.append(kind)
        distinct.positions.append(np.full((num_nodes, 3), np.nan))
        distinct.cells.append(_UNKNOWN_CELL)
    return key


def _is_valid(bonds: Bonds, num_nodes: int, num_kinds: int) -> bool:
    """Return whether shapes, types and numbers are right, and each bond is listed in both directions."""
    edges, kind = bonds.edge_index, bonds.kind
    if edges.dtype != np.int64 or kind.dtype != np.int64 or edges.shape != (2, len(kind)) or kind.ndim != 1:
        return False
    if not len(kind):
        return True
    if edges.min() < 0 or edges.max() >= num_nodes or kind.min() < 0 or kind.max() >= num_kinds:
        return False
    # one number for each (source, target, kind); the reversed edges must be the same set of numbers
    number = (edges[0] * num_nodes + edges[1]) * num_kinds + kind
    reversed_number = (edges[1] * num_nodes + edges[0]) * num_kinds + kind
    return bool((edges[0] != edges[1]).all() and (np.sort(number) == np.sort(reversed_number)).all())
