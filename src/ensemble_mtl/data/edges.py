"""Edges of all graphs: those that the source gives, or neighbours; equal ones are kept once."""

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

_UNKNOWN = np.full((3, 3), np.nan)


@dataclass
class _Collected:
    """Distinct topologies as they are met."""

    sizes: list[int] = field(default_factory=list)
    edges: list[IntArray] = field(default_factory=list)
    lengths: list[FloatArray] = field(default_factory=list)
    kinds: list[IntArray] = field(default_factory=list)
    positions: list[FloatArray] = field(default_factory=list)
    cells: list[FloatArray] = field(default_factory=list)


def topologies(graphs: list[Graph], config: GraphConfig, bond_kinds: tuple[str, ...]) -> tuple[IntArray, Topologies]:
    """The topology ``[G]`` of each graph, and the distinct ones.

    Args:
        graphs: with positions, or all with bonds.
        config: the radius of those with positions.
        bond_kinds: names of the kinds of bonds; empty if the graphs have positions.

    Raises:
        DataError: a graph has neither, or both, its bonds are malformed, or its neighbours
            cannot be found.
    """
    seen: dict[bytes, int] = {}
    index = np.empty(len(graphs), dtype=np.int64)
    found = _Collected()
    for g, graph in enumerate(graphs):
        if (graph.bonds is None) == bool(bond_kinds):
            given = "no given bonds" if bond_kinds else "given bonds of unnamed kinds"
            raise DataError(f"{graph.name}: got {given}, expected what the source says of all graphs; correct it")
        key = _of_bonds(found, seen, graph, bond_kinds) if graph.bonds else _of_positions(found, seen, graph, config)
        index[g] = seen[key]
    return index, Topologies(
        node_ptr=pointer(found.sizes),
        edge_ptr=pointer(len(lengths) for lengths in found.lengths),
        edge_index=np.concatenate(found.edges, axis=1),
        edge_length=np.concatenate(found.lengths),
        positions=np.concatenate(found.positions),
        cells=np.stack(found.cells),
        bond_kind=np.concatenate(found.kinds).astype(np.int16) if bond_kinds else None,
    )


def pointer(sizes: Iterable[int]) -> IntArray:
    """``[K + 1]`` where each of K ranges that lie end to end begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(np.fromiter(sizes, dtype=np.int64))]).astype(np.int64)


def _of_positions(found: _Collected, seen: dict[bytes, int], graph: Graph, config: GraphConfig) -> bytes:
    if graph.positions is None or graph.positions.shape != (len(graph.atomic_numbers), 3):
        raise DataError(f"{graph.name}: got no position for each atom, expected x, y, z for all of them")
    positions = graph.positions + 0.0  # -0.0 becomes 0.0, the same site
    cell = b"" if graph.cell is None else graph.cell.tobytes()
    key = hashlib.blake2b(positions.tobytes() + cell, digest_size=16, salt=b"cell" if cell else b"").digest()
    if key not in seen:
        seen[key] = len(seen)
        try:
            edges, lengths = neighbor_list(positions, graph.cell, config.radius_angstrom, config.periodic)
        except DataError as error:
            raise DataError(f"{graph.name}: {error}") from None
        found.sizes.append(len(positions))
        found.edges.append(edges)
        found.lengths.append(lengths)
        found.positions.append(positions)
        found.cells.append(_UNKNOWN if graph.cell is None else graph.cell)
    return key


def _of_bonds(found: _Collected, seen: dict[bytes, int], graph: Graph, bond_kinds: tuple[str, ...]) -> bytes:
    assert graph.bonds is not None  # noqa: S101 - the caller has seen it
    num_nodes = len(graph.atomic_numbers)
    if graph.positions is not None or not _is_sound(graph.bonds, num_nodes, len(bond_kinds)):
        raise DataError(
            f"{graph.name}: malformed bonds, expected pairs of its {num_nodes} atoms, each in both directions with "
            f"one kind of {', '.join(bond_kinds)}, and no positions beside them; correct the source"
        )
    (source, target), kind = graph.bonds.edge_index, graph.bonds.kind
    order = np.lexsort((kind, source, target))
    edges, kind = np.stack([source[order], target[order]]), kind[order]
    key = hashlib.blake2b(edges.tobytes() + kind.tobytes(), digest_size=16, salt=b"%d" % num_nodes).digest()
    if key not in seen:
        seen[key] = len(seen)
        found.sizes.append(num_nodes)
        found.edges.append(edges)
        found.lengths.append(np.full(len(kind), np.nan))
        found.kinds.append(kind)
        found.positions.append(np.full((num_nodes, 3), np.nan))
        found.cells.append(_UNKNOWN)
    return key


def _is_sound(bonds: Bonds, num_nodes: int, num_kinds: int) -> bool:
    edges, kind = bonds.edge_index, bonds.kind
    if edges.dtype != np.int64 or kind.dtype != np.int64 or edges.shape != (2, len(kind)) or kind.ndim != 1:
        return False
    if not len(kind):
        return True
    if edges.min() < 0 or edges.max() >= num_nodes or kind.min() < 0 or kind.max() >= num_kinds:
        return False
    code = (edges[0] * num_nodes + edges[1]) * num_kinds + kind
    reverse = (edges[1] * num_nodes + edges[0]) * num_kinds + kind
    return bool((edges[0] != edges[1]).all() and (np.sort(code) == np.sort(reverse)).all())
