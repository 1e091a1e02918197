"""Batches are the graphs that were asked for, whichever way the store holds them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.stores import STORES, lattice_store, molecule_store, random_inputs, table
from helpers.tolerances import ROUNDING, close
from torch_geometric.nn import global_add_pool, global_mean_pool

from ensemble_mtl.config.sections import GraphConfig
from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data import degrees
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.normalizer import Normalizer
from ensemble_mtl.data.table import Inputs, edge_inputs, node_inputs

ORDER = torch.tensor([3, 0, 5, 3])


@pytest.fixture(params=STORES)
def columns(request) -> GraphStore:
    return STORES[request.param](6)


def test_a_batch_as_pyg_has_each_graph_s_own_columns(columns):
    batch = table(columns, ("H", "C"), edge_features=2).batch(ORDER).to_pyg()
    assert batch.num_graphs == len(ORDER)
    topologies = columns.topologies
    x, attr = random_inputs(columns, 1, 2)
    graph_of_edge = batch.batch[batch.edge_index[1]]
    for at, g in enumerate(ORDER.tolist()):
        nodes = slice(columns.node_ptr[g], columns.node_ptr[g + 1])
        k = int(columns.topology[g])
        assert torch.equal(batch.x[batch.batch == at], torch.tensor(x[nodes]))
        assert torch.equal(batch.y_C[batch.batch == at], torch.tensor(columns.targets["charge"][nodes]))
        assert float(batch.y_H[at]) == columns.targets["energy"][g]
        edge_index = batch.edge_index[:, graph_of_edge == at] - batch.ptr[at]
        assert torch.equal(edge_index, torch.tensor(topologies.edges(k)))
        edges = slice(topologies.edge_ptr[k], topologies.edge_ptr[k + 1])
        assert torch.equal(batch.edge_attr[graph_of_edge == at], torch.tensor(attr[edges]))


def test_missing_labels_are_nan_at_the_pyg_boundary():
    for columns in (lattice_store(12, missing=0.5), molecule_store(12, missing=0.5)):
        labels = table(columns).batch(torch.arange(12)).to_pyg().y_H
        close(labels, torch.tensor(columns.targets["energy"]), rtol=ROUNDING)
        assert labels.isnan().any()


@pytest.mark.parametrize(("how", "pool"), [("mean", global_mean_pool), ("sum", global_add_pool)])
def test_pooling_is_pyg_s(columns, how, pool):
    batch = table(columns).batch(ORDER)
    pyg = batch.to_pyg()
    x = batch.x.expand(2, -1, -1, -1) * torch.tensor([1.0, -2.0], dtype=torch.float64)[:, None, None, None]
    expected = pool(pyg.x, pyg.batch)
    close(batch.pool(x, how), torch.stack([expected, -2 * expected]), rtol=ROUNDING)


def test_targets_are_scaled_by_their_own_normaliser():
    columns = lattice_store(6)
    scaled = type(table(columns))(
        columns,
        Inputs(np.zeros((columns.node_ptr[-1], 1)), None),
        {"H": ("energy", Normalizer(1.0, 4.0, "minmax"))},
        torch.float64,
        torch.device("cpu"),
    )
    expected = (torch.tensor(columns.targets["energy"]) - 1) / 4
    close(scaled.batch(torch.arange(6)).targets["H"], expected, rtol=ROUNDING)


def test_degrees_count_nodes_of_the_chosen_graphs(columns):
    chosen = np.array([0, 2, 2, 4])
    expected: dict[int, int] = {}
    for g in chosen:
        k = int(columns.topology[g])
        for degree in np.bincount(columns.topologies.edges(k)[1], minlength=columns.topologies.num_nodes(k)):
            expected[int(degree)] = expected.get(int(degree), 0) + 1
    statistics = degrees.of(columns, chosen)
    assert {d: n for d, n in enumerate(statistics.histogram) if n} == expected
    total = sum(expected.values())
    assert statistics.mean == pytest.approx(sum(d * n for d, n in expected.items()) / total)
    assert statistics.mean_log == pytest.approx(sum(np.log(d + 1) * n for d, n in expected.items()) / total)


def test_species_become_scaled_numbers_or_one_entry_per_element():
    columns = lattice_store(3)
    numbers = columns.atomic_numbers
    scaled = node_inputs(columns, GraphConfig(), Normalizer(26.0, 52.0, "minmax"))
    assert scaled.shape == (len(numbers), 1)
    assert set(scaled[:, 0]) == {0.0, 1.0}
    hot = node_inputs(columns, GraphConfig(node_features="one_hot", elements=("Pt", "Fe")), Normalizer(0, 1, "minmax"))
    assert np.array_equal(hot, np.stack([numbers == 78, numbers == 26], axis=1))


def test_an_element_that_is_not_listed_is_refused():
    graph = GraphConfig(node_features="one_hot", elements=("Fe",))
    with pytest.raises(DataError, match=r"hold Pt besides \['Fe'\]; add them, or write found"):
        node_inputs(lattice_store(3), graph, Normalizer(0, 1, "minmax"))


def test_edge_lengths_become_gaussians():
    columns = lattice_store(2)
    gaussians = edge_inputs(columns, 2.0, 5)
    lengths = columns.topologies.edge_length
    assert gaussians.shape == (len(lengths), 5)
    assert np.allclose(gaussians[:, 2], np.exp(-(((lengths - 1.0) / 0.5) ** 2)))
    assert edge_inputs(columns, 2.0, None) is None


def test_bonds_without_lengths_cannot_be_expanded():
    columns = lattice_store(2)
    unknown = replace(columns.topologies, edge_length=np.full(len(columns.topologies.edge_length), np.nan))
    with pytest.raises(DataError, match=r"model\.edge_basis: .* leave edge_basis out"):
        edge_inputs(replace(columns, topologies=unknown), 2.0, 5)
