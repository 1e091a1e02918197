"""Entries of one-hot features are those listed or those found, and nothing is left without one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.molecules import graphs
from helpers.stores import lattice_store

from ensemble_mtl.config.sections import GraphConfig
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data import vocabulary
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.normalizer import Normalizer
from ensemble_mtl.data.table import GraphTable, Inputs, inputs

IDENTITY = Normalizer(0.0, 1.0, "standard")
FOUND = GraphConfig(node_features="one_hot", elements="found", bonds="found")


@pytest.fixture
def store(tmp_path: Path) -> GraphStore:
    return graphs(tmp_path)  # C, CO, c1ccccc1, C#N, C=O


def features_of(store: GraphStore, graph: GraphConfig) -> Inputs:
    return inputs(store, graph, IDENTITY, None)


def test_what_is_found_is_what_occurs(store: GraphStore) -> None:
    assert vocabulary.elements(store, FOUND).tolist() == [6, 7, 8]
    assert vocabulary.bonds(store, FOUND) == ("single", "double", "triple", "aromatic")
    assert features_of(store, FOUND).widths == (3, 4)
    fewer = replace(store.topologies, bond_kind=np.minimum(store.topologies.bond_kind, 1))
    assert vocabulary.bonds(replace(store, topologies=fewer), FOUND) == ("single", "double")


def test_what_is_listed_is_in_the_order_of_the_list(store: GraphStore) -> None:
    listed = GraphConfig(
        node_features="one_hot", elements=("O", "F", "C", "N"), bonds=("aromatic", "single", "triple", "double")
    )
    occurring, reordered = features_of(store, FOUND), features_of(store, listed)
    assert np.array_equal(reordered.nodes[:, [2, 3, 0]], occurring.nodes)
    assert not reordered.nodes[:, 1].any()
    assert np.array_equal(reordered.edges[:, [1, 3, 2, 0]], occurring.edges)
    assert (occurring.nodes.sum(axis=1) == 1).all()
    assert (occurring.edges.sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (
            {"node_features": "one_hot", "elements": ("C", "O")},
            r"graph\.elements: the data hold N besides \['C', 'O'\]",
        ),
        ({"bonds": ("single",)}, r"graph\.bonds: the data hold double, triple, aromatic besides \['single'\]"),
    ],
)
def test_what_is_not_listed_is_refused(store: GraphStore, graph: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        vocabulary.check(store, GraphConfig(**graph))


def test_kinds_of_bonds_need_bonds() -> None:
    with pytest.raises(DataError, match=r"graph\.bonds: the source gives no bonds; leave it out"):
        vocabulary.check(lattice_store(2), GraphConfig(bonds="found"))
    assert features_of(lattice_store(2), GraphConfig()).widths == (1, 0)


def test_without_kinds_bonds_are_edges_without_features(store: GraphStore) -> None:
    plain = features_of(store, GraphConfig())
    assert plain.edges is None
    assert plain.nodes[:, 0].tolist() == store.atomic_numbers.tolist()


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 0, 4], [0]])
def test_a_batch_has_each_molecule_s_own_bonds(store: GraphStore, order: list[int]) -> None:
    features = features_of(store, FOUND)
    table = GraphTable(store, features, {"g": ("gap", IDENTITY)}, torch.float64, torch.device("cpu"))
    batch = table.batch(torch.tensor(order)).to_pyg()
    of_edge = batch.batch[batch.edge_index[0]]
    for at, g in enumerate(order):
        k = int(store.topology[g])
        edges = slice(*store.topologies.edge_ptr[k : k + 2].tolist())
        is_of_graph = of_edge == at
        assert torch.equal(batch.edge_index[:, is_of_graph] - batch.ptr[at], torch.tensor(store.topologies.edges(k)))
        assert torch.equal(batch.edge_attr[is_of_graph], torch.tensor(features.edges[edges]))
        nodes = slice(*store.node_ptr[g : g + 2].tolist())
        assert torch.equal(batch.x[batch.batch == at], torch.tensor(features.nodes[nodes]))
        assert torch.equal(batch.y_g[at], torch.tensor(store.targets["gap"][g])) or np.isnan(store.targets["gap"][g])


def test_a_set_of_single_atoms_has_no_edges(tmp_path: Path) -> None:
    store = graphs(tmp_path, "smiles,gap,charge\nC,1,1\nN,2,2\nO,3,3\n")
    features = features_of(store, FOUND)
    assert features.widths == (3, 0)
    assert features.edges is None
    table = GraphTable(store, features, {"g": ("gap", IDENTITY)}, torch.float64, torch.device("cpu"))
    batch = table.batch(torch.tensor([2, 0]))
    assert batch.to_pyg().edge_index.shape == (2, 0)
    assert batch.pool(batch.x, "sum").shape == (1, 2, 3)
