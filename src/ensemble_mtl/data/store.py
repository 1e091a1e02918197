"""The graph store: made from a source's graphs, saved to BP and loaded from it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl import bp
from ensemble_mtl.data.columns import GraphStore, Topologies
from ensemble_mtl.data.neighbors import neighbor_list
from ensemble_mtl.errors import DataError, StoreError
from ensemble_mtl.graph import FloatArray, Graph, IntArray, SourceData, TargetInfo
from ensemble_mtl.sections import GraphConfig

FORMAT = 1
_TOPOLOGY_COLUMNS = ("node_ptr", "edge_ptr", "edge_index", "edge_length", "positions", "cells")


def build(data: SourceData, graph: GraphConfig, provenance: dict[str, Any]) -> GraphStore:
    """Columns of all graphs, with edges; graphs of equal sites and cell share a topology.

    Args:
        data: what a source read.
        graph: how edges are made.
        provenance: kept with the store, besides the source's notes.

    Raises:
        DataError: there is no graph, a graph or its targets are malformed, or the
            configuration asks for periodic edges of a graph without a cell.
    """
    if not data.graphs:
        raise DataError("the source gave no graphs; check data.path")
    names = _names(data.graphs)
    targets = {info.name: _column(data.graphs, info) for info in data.targets}
    topology, topologies = _topologies(data.graphs, graph)
    sizes = np.array([len(entry.atomic_numbers) for entry in data.graphs], dtype=np.int64)
    store = GraphStore(
        names=names,
        node_ptr=_pointer(sizes),
        atomic_numbers=np.concatenate([entry.atomic_numbers for entry in data.graphs]).astype(np.int16),
        topology=topology,
        topologies=topologies,
        targets=targets,
        info=data.targets,
        sha256="",
        provenance={
            **provenance,
            "notes": [*data.notes, *_edgeless_note(topology, topologies, graph)],
            "skipped": list(data.skipped),
            "synthetic": data.synthetic,
        },
    )
    digest = content_sha256(store)
    return GraphStore(**{**vars(store), "sha256": digest})


def save(path: Path, store: GraphStore) -> None:
    """Write the store as the BP folder ``path``, atomically (see :func:`ensemble_mtl.bp.save`)."""
    meta = {
        "format": FORMAT,
        "info": [asdict(info) for info in store.info],
        "sha256": store.sha256,
        "provenance": store.provenance,
    }
    bp.save(path, _columns(store), meta)


def load(path: Path) -> GraphStore:
    """The store that :func:`save` wrote.

    Raises:
        StoreError: it is missing, incomplete, corrupt or of another format.
    """
    arrays, meta = bp.load(path)
    try:
        if meta["format"] != FORMAT:
            raise StoreError(f"{path}: graph store of format {meta['format']}, expected {FORMAT}; delete it")
        info = tuple(TargetInfo(**entry) for entry in meta["info"])
        return GraphStore(
            names=arrays["names"].tobytes().decode().split("\n"),
            node_ptr=arrays["node_ptr"],
            atomic_numbers=arrays["atomic_numbers"],
            topology=arrays["topology"],
            topologies=Topologies(**{name: arrays[f"topology/{name}"] for name in _TOPOLOGY_COLUMNS}),
            targets={entry.name: arrays[f"target/{entry.name}"] for entry in info},
            info=info,
            sha256=meta["sha256"],
            provenance=meta["provenance"],
        )
    except (KeyError, TypeError) as error:
        raise StoreError(f"{path}: a BP store, but not of graphs ({error}); give another path") from None


def content_sha256(store: GraphStore) -> str:
    """Hash of every column's name, dtype, shape and bytes, and of what the targets are."""
    digest = hashlib.sha256(json.dumps([[info.name, info.level, info.unit] for info in store.info]).encode())
    for name, array in _columns(store).items():
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _columns(store: GraphStore) -> dict[str, NDArray[Any]]:
    return {
        "names": np.frombuffer("\n".join(store.names).encode(), dtype=np.uint8),
        "node_ptr": store.node_ptr,
        "atomic_numbers": store.atomic_numbers,
        "topology": store.topology,
        **{f"topology/{name}": getattr(store.topologies, name) for name in _TOPOLOGY_COLUMNS},
        **{f"target/{info.name}": store.targets[info.name] for info in store.info},
    }


def _names(graphs: list[Graph]) -> list[str]:
    names = [graph.name for graph in graphs]
    if len(set(names)) != len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise DataError(f"{twice}: two graphs have this name; expected a name of its own for each")
    for name in names:
        if "\n" in name or not name:
            raise DataError(f"{name!r}: expected a graph's name to be one line of text; rename the file")
    return names


def _column(graphs: list[Graph], info: TargetInfo) -> FloatArray:
    for graph in graphs:
        shape = (1,) if info.level == "graph" else (len(graph.atomic_numbers),)
        if info.name not in graph.targets or graph.targets[info.name].shape != shape:
            got = graph.targets[info.name].shape if info.name in graph.targets else "none"
            raise DataError(f"{graph.name}: target {info.name}: got {got}, expected values of shape {shape}")
    values = np.concatenate([graph.targets[info.name] for graph in graphs]).astype(np.float64)
    if np.isinf(values).any():
        raise DataError(f"target {info.name}: got infinite values, expected finite ones, or NaN for a missing label")
    return values


@dataclass
class _Collected:
    """Distinct topologies as they are met."""

    sizes: list[int] = field(default_factory=list)
    edges: list[IntArray] = field(default_factory=list)
    lengths: list[FloatArray] = field(default_factory=list)
    positions: list[FloatArray] = field(default_factory=list)
    cells: list[FloatArray] = field(default_factory=list)


def _topologies(graphs: list[Graph], config: GraphConfig) -> tuple[IntArray, Topologies]:
    seen: dict[bytes, int] = {}
    index = np.empty(len(graphs), dtype=np.int64)
    found = _Collected()
    for g, graph in enumerate(graphs):
        if graph.positions is None or graph.positions.shape != (len(graph.atomic_numbers), 3):
            raise DataError(f"{graph.name}: got no position for each atom, expected x, y, z for all of them")
        positions = graph.positions + 0.0  # -0.0 becomes 0.0, the same site
        cell = b"" if graph.cell is None else graph.cell.tobytes()
        key = hashlib.blake2b(positions.tobytes() + cell, digest_size=16, salt=b"cell" if cell else b"").digest()
        if key not in seen:
            seen[key] = len(seen)
            _add(found, graph, positions, config)
        index[g] = seen[key]
    return index, Topologies(
        node_ptr=_pointer(found.sizes),
        edge_ptr=_pointer([len(lengths) for lengths in found.lengths]),
        edge_index=np.concatenate(found.edges, axis=1),
        edge_length=np.concatenate(found.lengths),
        positions=np.concatenate(found.positions),
        cells=np.stack(found.cells),
    )


def _add(found: _Collected, graph: Graph, positions: FloatArray, config: GraphConfig) -> None:
    try:
        edges, lengths = neighbor_list(positions, graph.cell, config.radius_angstrom, config.periodic)
    except DataError as error:
        raise DataError(f"{graph.name}: {error}") from None
    found.sizes.append(len(positions))
    found.edges.append(edges)
    found.lengths.append(lengths)
    found.positions.append(positions)
    found.cells.append(np.full((3, 3), np.nan) if graph.cell is None else graph.cell)


def _pointer(sizes: Iterable[int]) -> IntArray:
    return np.concatenate([[0], np.cumsum(np.fromiter(sizes, dtype=np.int64))]).astype(np.int64)


def _edgeless_note(topology: IntArray, topologies: Topologies, config: GraphConfig) -> list[str]:
    empty = np.diff(topologies.edge_ptr) == 0
    num_empty = int(empty[topology].sum())
    if not num_empty:
        return []
    within = f"{config.radius:g} {config.radius_unit}"
    return [f"{num_empty} of {len(topology)} graphs have no edge: no two atoms are within {within}; is the unit right?"]
