"""Small graph stores with every case that a batch must get right."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from ensemble_mtl.data.columns import GraphStore, Topologies
from ensemble_mtl.data.graph import TargetInfo
from ensemble_mtl.data.normalizer import Normalizer
from ensemble_mtl.data.table import GraphTable, Inputs

INFO = (TargetInfo("energy", "graph", "Ry"), TargetInfo("charge", "node", "e"), TargetInfo("gap", "graph", "eV"))
TARGETS = {"H": "energy", "C": "charge", "G": "gap"}
Sites = tuple[int, list[tuple[int, int, float]]]
"""Number of nodes, and edges (source, target, length)."""


def neighbors(positions: np.ndarray, radius: float, cell: np.ndarray | None = None) -> Sites:
    """Connect sites at ``positions [N, 3]`` within ``radius``, by brute force over periodic images."""
    images = (
        [np.zeros(3)] if cell is None else [np.array(n) @ cell for n in itertools.product((-2, -1, 0, 1, 2), repeat=3)]
    )
    edges = []
    for target, source in itertools.product(range(len(positions)), repeat=2):
        for shift in images:
            length = float(np.linalg.norm(positions[source] + shift - positions[target]))
            if 1e-9 < length <= radius:
                edges.append((source, target, length))
    return len(positions), sorted(edges, key=lambda e: (e[1], e[0], e[2]))


def open_lattice() -> Sites:
    """Return a lattice whose corners, edges and faces differ in degree, and a last site without neighbours."""
    grid = np.array(list(itertools.product(range(2), range(2), range(3))), dtype=float)
    return neighbors(np.vstack([grid, [9.0, 9.0, 9.0]]), 1.5)


def periodic_lattice() -> Sites:
    """Return a cell smaller than the radius: a pair of sites has several edges, and a site has edges to itself."""
    positions = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.6], [0.1, 0.4, 1.3]])
    return neighbors(positions, 1.6, np.diag([1.0, 1.1, 2.0]))


def molecules(seed: int = 0) -> list[Sites]:
    """Return molecules with random bonds; one is a lone atom, one has no bonds, and one has an unbound atom."""
    rng = np.random.default_rng(seed)
    graphs = []
    for num_nodes in (5, 7, 1, 4, 6, 3):
        pairs = [p for p in itertools.combinations(range(num_nodes), 2) if rng.random() < 0.5]
        if num_nodes == 4:
            pairs = []
        if num_nodes == 6:
            pairs = [p for p in pairs if 2 not in p]
        edges = [(a, b, 1.0 + 0.1 * (a + b)) for p in pairs for a, b in (p, p[::-1])]
        graphs.append((num_nodes, sorted(edges, key=lambda e: (e[1], e[0], e[2]))))
    return graphs


def store(topologies: list[Sites], topology: list[int], seed: int = 0, missing: float = 0.0) -> GraphStore:
    """Return graphs with random elements and targets.

    Args:
        topologies: nodes and edges of each topology.
        topology: for each graph, the index of its topology.
        seed: seed of elements and targets.
        missing: share of the graphs whose energy is missing.
    """
    rng = np.random.default_rng(seed)
    nodes = np.array([n for n, _ in topologies])
    edges = [edge for _, topology_edges in topologies for edge in topology_edges]
    columns = Topologies(
        node_ptr=np.concatenate([[0], nodes.cumsum()]),
        edge_ptr=np.concatenate([[0], np.cumsum([len(topology_edges) for _, topology_edges in topologies])]),
        edge_index=np.array([[s, t] for s, t, _ in edges], dtype=np.int64).reshape(-1, 2).T,
        edge_length=np.array([length for _, _, length in edges]),
        positions=np.full((nodes.sum(), 3), np.nan),
        cells=np.full((len(nodes), 3, 3), np.nan),
    )
    node_ptr = np.concatenate([[0], nodes[topology].cumsum()])
    targets = {info.name: rng.normal(size=node_ptr[-1] if info.level == "node" else len(topology)) for info in INFO}
    targets["energy"][rng.random(len(topology)) < missing] = np.nan
    return GraphStore(
        names=[f"graph-{g}" for g in range(len(topology))],
        node_ptr=node_ptr,
        atomic_numbers=rng.choice(np.array([26, 78], dtype=np.int16), node_ptr[-1]),
        topology=np.array(topology),
        topologies=columns,
        targets=targets,
        info=INFO,
        sha256="",
        provenance={},
    )


def lattice_store(num_graphs: int = 5, seed: int = 0, *, periodic: bool = False, missing: float = 0.0) -> GraphStore:
    """Return graphs that share one lattice."""
    sites = periodic_lattice() if periodic else open_lattice()
    return store([sites], [0] * num_graphs, seed, missing)


def molecule_store(num_graphs: int = 6, seed: int = 0, missing: float = 0.0) -> GraphStore:
    """Return graphs on the topologies of :func:`molecules`, in turn."""
    topologies = molecules()
    return store(topologies, [g % len(topologies) for g in range(num_graphs)], seed, missing)


STORES = {
    "open": lattice_store,
    "periodic": lambda n=5, seed=0, missing=0.0: lattice_store(n, seed, periodic=True, missing=missing),
    "molecules": molecule_store,
}


def table(
    columns: GraphStore,
    tasks: tuple[str, ...] = ("H", "C"),
    edge_features: int = 0,
    dtype: torch.dtype = torch.float64,
    in_features: int = 1,
    kinds: int = 0,
) -> GraphTable:
    """Return the store as a table with random inputs and unscaled targets; ``kinds`` as for :func:`random_inputs`."""
    identity = Normalizer(0.0, 1.0, "minmax")
    return GraphTable(
        columns,
        random_inputs(columns, in_features, edge_features, kinds),
        {task: (TARGETS[task], identity) for task in tasks},
        dtype,
        torch.device("cpu"),
    )


def random_inputs(columns: GraphStore, in_features: int, edge_features: int, kinds: int = 0) -> Inputs:
    """Return random features of nodes and edges.

    Edges have features of so many ``kinds``, so that several edges of a node have the same; with 0 all edges differ.
    """
    rng = np.random.default_rng(7)
    x = rng.normal(size=(columns.node_ptr[-1], in_features))
    if not edge_features:
        return Inputs(x, None)
    count = columns.topologies.edge_ptr[-1]
    attr = rng.normal(size=(kinds or count, edge_features))
    return Inputs(x, attr[rng.integers(kinds, size=count)] if kinds else attr)
