"""The graph store: made from a source's graphs, saved as a BP folder and loaded from it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.config.sections import GraphConfig
from ensemble_mtl.core.errors import DataError, StoreError
from ensemble_mtl.core.storage import bp
from ensemble_mtl.data.columns import GraphStore, Topologies
from ensemble_mtl.data.edges import pointer, topologies
from ensemble_mtl.data.graph import FloatArray, Graph, IntArray, SourceData, TargetInfo

FORMAT = 1
_TOPOLOGY_COLUMNS = ("node_ptr", "edge_ptr", "edge_index", "edge_length", "positions", "cells")


def build(data: SourceData, graph: GraphConfig, provenance: dict[str, Any]) -> GraphStore:
    """Return the columns of all graphs, with edges; graphs of equal sites and cell share a topology.

    Args:
        data: the structures that a source has read.
        graph: how edges are made from positions.
        provenance: where the data come from, as JSON values; saved with the store, besides the source's notes.

    Raises:
        DataError: there is no graph, a graph or its targets are malformed, or the
            configuration asks for periodic edges of a graph without a cell.
    """
    if not data.graphs:
        raise DataError("data: the source gave no graphs, expected at least one; check data.path")
    names = _names(data.graphs)
    targets = {info.name: _column(data.graphs, info) for info in data.targets}
    topology, distinct = topologies(data.graphs, graph, data.bond_kinds)
    store = GraphStore(
        names=names,
        node_ptr=pointer(len(structure.atomic_numbers) for structure in data.graphs),
        atomic_numbers=np.concatenate([structure.atomic_numbers for structure in data.graphs]).astype(np.int16),
        topology=topology,
        topologies=distinct,
        targets=targets,
        info=data.targets,
        sha256="",
        provenance={
            **provenance,
            "notes": [*data.notes, *_edgeless_note(topology, distinct, graph)],
            "skipped": list(data.skipped),
            "synthetic": data.synthetic,
        },
        bond_kinds=data.bond_kinds,
    )
    digest = content_sha256(store)
    return GraphStore(**{**vars(store), "sha256": digest})


def save(path: Path, store: GraphStore) -> None:
    """Write the store as the BP folder ``path``, whole or not at all (see :func:`ensemble_mtl.core.storage.bp.save`).

    Raises:
        OSError: the disk is full or the folder cannot be written; ``path`` is unchanged.
    """
    meta = {
        "format": FORMAT,
        "info": [asdict(info) for info in store.info],
        "sha256": store.sha256,
        "provenance": store.provenance,
        "bond_kinds": list(store.bond_kinds),
    }
    bp.save(path, _columns(store), meta)


def load(path: Path) -> GraphStore:
    """Return the store that :func:`save` wrote as the BP folder ``path``.

    Raises:
        StoreError: the store is missing, incomplete, corrupt or of another format.
    """
    arrays, meta = bp.load(path)
    try:
        if meta["format"] != FORMAT:
            raise StoreError(
                f"{path}: got a graph store of format {meta['format']}, expected {FORMAT}; "
                "delete it and run the command again, which makes it anew"
            )
        bond_kinds = tuple(meta["bond_kinds"])
        columns = {name: arrays[f"topology/{name}"] for name in _topology_columns(bond_kinds)}
        info = tuple(TargetInfo(**entry) for entry in meta["info"])
        return GraphStore(
            names=arrays["names"].tobytes().decode().split("\n"),
            node_ptr=arrays["node_ptr"],
            atomic_numbers=arrays["atomic_numbers"],
            topology=arrays["topology"],
            topologies=Topologies(**columns),
            targets={entry.name: arrays[f"target/{entry.name}"] for entry in info},
            info=info,
            sha256=meta["sha256"],
            provenance=meta["provenance"],
            bond_kinds=bond_kinds,
        )
    except (KeyError, TypeError) as error:
        raise StoreError(f"{path}: got a BP store that is not one of graphs ({error}); give another path") from None


def content_sha256(store: GraphStore) -> str:
    """Return the SHA-256 of every column's name, dtype, shape and bytes, and of the names of targets and bonds.

    Provenance is not a part of it: equal data from different places have the same hash.
    """
    names: list[Any] = [[info.name, info.level, info.unit] for info in store.info]
    if store.bond_kinds:
        names.append({"bond_kinds": store.bond_kinds})
    digest = hashlib.sha256(json.dumps(names).encode())
    for name, array in _columns(store).items():
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _columns(store: GraphStore) -> dict[str, NDArray[Any]]:
    """Return the arrays that are saved, by their names in the BP folder. The content hash depends on their order."""
    return {
        "names": np.frombuffer("\n".join(store.names).encode(), dtype=np.uint8),
        "node_ptr": store.node_ptr,
        "atomic_numbers": store.atomic_numbers,
        "topology": store.topology,
        **{f"topology/{name}": getattr(store.topologies, name) for name in _topology_columns(store.bond_kinds)},
        **{f"target/{info.name}": store.targets[info.name] for info in store.info},
    }


def _topology_columns(bond_kinds: tuple[str, ...]) -> tuple[str, ...]:
    return (*_TOPOLOGY_COLUMNS, "bond_kind") if bond_kinds else _TOPOLOGY_COLUMNS


def _names(graphs: list[Graph]) -> list[str]:
    """Return the names of the graphs; DataError if one is repeated, empty, or of several lines."""
    names = [graph.name for graph in graphs]
    if len(set(names)) != len(names):
        repeated = Counter(names).most_common(1)[0][0]
        raise DataError(f"{repeated}: two graphs have this name, expected a name of its own for each; rename one")
    for name in names:
        if "\n" in name or not name:
            raise DataError(f"{name!r}: got this name of a graph, expected one line of text; rename the file")
    return names


def _column(graphs: list[Graph], info: TargetInfo) -> FloatArray:
    """Return the values of one target of all graphs, one after the other."""
    for graph in graphs:
        shape = (1,) if info.level == "graph" else (len(graph.atomic_numbers),)
        if info.name not in graph.targets or graph.targets[info.name].shape != shape:
            got = graph.targets[info.name].shape if info.name in graph.targets else "none"
            raise DataError(
                f"{graph.name}: target {info.name}: got {got}, expected values of shape {shape}; correct the source"
            )
    values = np.concatenate([graph.targets[info.name] for graph in graphs]).astype(np.float64)
    if np.isinf(values).any():
        raise DataError(f"target {info.name}: got infinite values, expected finite numbers, or NaN for a missing label")
    return values


def _edgeless_note(topology: IntArray, distinct: Topologies, config: GraphConfig) -> list[str]:
    """Return a note on how many graphs have no edge, or an empty list if all have some.

    Args:
        topology: ``[G]`` topology of each graph.
        distinct: the topologies.
        config: how neighbours were searched.
    """
    is_edgeless = np.diff(distinct.edge_ptr) == 0
    num_edgeless = int(is_edgeless[topology].sum())
    if not num_edgeless:
        return []
    if distinct.bond_kind is not None:
        return [f"{num_edgeless} of {len(topology)} graphs have no bond"]
    radius = f"{config.radius:g} {config.radius_unit}"
    return [
        f"{num_edgeless} of {len(topology)} graphs have no edge: no two atoms are within {radius}; is the unit right?"
    ]
