import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers.alloys import graphs

from ensemble_mtl.data import symmetry
from ensemble_mtl.data.columns import GraphStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GraphStore:
    return graphs(tmp_path_factory.mktemp("raw"), num_configurations=200)


def with_species(store: GraphStore, species: np.ndarray) -> GraphStore:
    num_graphs, num_nodes = species.shape
    return dataclasses.replace(
        store,
        names=[str(g) for g in range(num_graphs)],
        node_ptr=np.arange(num_graphs + 1) * num_nodes,
        atomic_numbers=species.ravel().astype(np.int16),
        topology=np.zeros(num_graphs, dtype=np.int64),
    )


def test_permutations_form_a_group_that_keeps_distances(store: GraphStore) -> None:
    permutations = symmetry.site_permutations(store.topologies, 0)
    assert permutations.shape == (16 * 16, 16)  # 16 translations times the 16 rotations of 4/mmm
    rows = {tuple(row) for row in permutations.tolist()}
    assert tuple(range(16)) in rows
    rng = np.random.default_rng(0)
    for p, q in rng.integers(0, len(permutations), (30, 2)):
        assert tuple(permutations[p][permutations[q]].tolist()) in rows
    edges = sorted(zip(*store.topologies.edges(0).tolist(), strict=True))
    for permutation in permutations:
        assert sorted(zip(*permutation[store.topologies.edges(0)].tolist(), strict=True)) == edges


def test_images_share_the_symmetry_key_and_nothing_else_does(store: GraphStore) -> None:
    rng = np.random.default_rng(1)
    base = rng.choice([26, 78], (20, 16))
    images = [base[:, p] for p in symmetry.site_permutations(store.topologies, 0)[rng.integers(0, 256, 10)]]
    keys = symmetry.symmetry_keys(with_species(store, np.concatenate([base, *images]))).reshape(11, 20)
    assert (keys == keys[0]).all()
    permutations = symmetry.site_permutations(store.topologies, 0)
    canonical = {min(tuple(row[p].tolist()) for p in permutations) for row in base}
    assert len(np.unique(keys[0])) == len(canonical)


def test_equal_arrangements_have_equal_keys(store: GraphStore) -> None:
    species = np.random.default_rng(2).choice([26, 78], (50, 16))
    keys = symmetry.arrangement_keys(with_species(store, np.concatenate([species, species])))
    assert np.array_equal(keys[:50], keys[50:])
    assert len(np.unique(keys)) == len(np.unique(species, axis=0))


def test_swapped_elements_differ(store: GraphStore) -> None:
    species = np.full((2, 16), 26)
    species[1] = 78
    assert len(set(symmetry.symmetry_keys(with_species(store, species)).tolist())) == 2


def test_symmetry_keys_predict_the_targets(store: GraphStore) -> None:
    _, index, counts = np.unique(symmetry.symmetry_keys(store), return_inverse=True, return_counts=True)
    assert (counts > 1).any()
    energy = store.targets["total_energy"]
    for group in np.flatnonzero(counts > 1):
        assert np.ptp(energy[index == group]) < 1e-9


def test_topologies_do_not_mix(store: GraphStore, tmp_path: Path) -> None:
    lattice = store.topologies
    topologies = dataclasses.replace(
        lattice,
        node_ptr=np.array([0, 16, 32]),
        edge_ptr=np.array([0, lattice.edge_ptr[1], 2 * lattice.edge_ptr[1]]),
        edge_index=np.tile(lattice.edge_index, 2),
        edge_length=np.tile(lattice.edge_length, 2),
        positions=np.tile(lattice.positions, (2, 1)),
        cells=np.tile(lattice.cells, (2, 1, 1)),
    )
    species = np.full((2, 16), 26)
    two_lattices = dataclasses.replace(with_species(store, species), topologies=topologies, topology=np.array([0, 1]))
    assert len(set(symmetry.arrangement_keys(two_lattices).tolist())) == 2
