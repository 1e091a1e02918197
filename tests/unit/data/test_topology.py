"""Sums, extrema and softmax over neighbours, against loops over nodes."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers.stores import STORES, table
from helpers.tolerances import ROUNDING, close
from torch import Tensor

from ensemble_mtl.data import topology as topologies
from ensemble_mtl.data.topology import Topology


def complete(num_nodes: int) -> Topology:
    """Every node a neighbour of every other one."""
    pairs = [(s, t) for t, s in itertools.product(range(num_nodes), repeat=2) if s != t]
    return topologies.make(num_nodes, torch.tensor(pairs).T, None, dtype=torch.float64, shared=True)


def without_edges() -> Topology:
    return topologies.make(4, torch.zeros(2, 0, dtype=torch.int64), None, dtype=torch.float64, shared=False)


def topology_of_store(kind: str) -> Topology:
    columns = STORES[kind]()
    return table(columns, edge_features=2).batch(torch.arange(len(columns))).topology


TOPOLOGIES = {
    **{kind: lambda kind=kind: topology_of_store(kind) for kind in STORES},
    "crowded": lambda: complete(40),  # slot number times node number exceeds a byte
    "more than a byte of slots": lambda: complete(300),
    "no edge": without_edges,
}


@pytest.fixture(params=TOPOLOGIES)
def topology(request) -> Topology:
    return TOPOLOGIES[request.param]()


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def per_node(topology: Topology, edges: Tensor, reduce) -> Tensor:
    """``reduce`` over the edges ``[M, E, …]`` of each node, 0 where there are none."""
    rows = []
    for node in range(topology.num_nodes):
        values = edges[:, topology.target == node]
        rows.append(
            reduce(values) if values.shape[1] else torch.zeros_like(edges.new_zeros(edges.shape[0], *edges.shape[2:]))
        )
    return torch.stack(rows, dim=1)


def test_sums(topology):
    x = normal(2, topology.num_nodes, 3, 2)
    edges = x[:, topology.source]
    expected = per_node(topology, edges, lambda values: values.sum(1))
    close(topology.sum_sources(x), expected, rtol=ROUNDING)
    close(topology.sum_edges(edges), expected, rtol=ROUNDING)


def test_extrema(topology):
    x = normal(2, topology.num_nodes, 3, 2)
    edges = x[:, topology.source]
    for low, high in (topology.source_extrema(x), topology.edge_extrema(edges)):
        assert torch.equal(low, per_node(topology, edges, lambda values: values.amin(1)))
        assert torch.equal(high, per_node(topology, edges, lambda values: values.amax(1)))


def test_extrema_of_equal_values(topology):
    x = normal(2, topology.num_nodes, 3, 2).sign()
    low, high = topology.source_extrema(x)
    edges = x[:, topology.source]
    assert torch.equal(low, per_node(topology, edges, lambda values: values.amin(1)))
    assert torch.equal(high, per_node(topology, edges, lambda values: values.amax(1)))


def test_softmax_sums_to_one_at_every_node_that_has_an_edge(topology):
    scores = 500 * normal(2, len(topology.source), 3, 2)  # overflows without the shift
    weights = topology.edge_softmax(scores)
    totals = topology.sum_edges(weights)
    expected = (topology.degree > 0).double()[:, None, None].expand_as(totals)
    close(totals, expected, rtol=ROUNDING)
    loop = per_node(topology, scores, lambda values: values.softmax(1).amax(1))
    close(per_node(topology, weights, lambda values: values.amax(1)), loop, rtol=ROUNDING)


def test_degree_and_adjacency_count_edges(topology):
    counts = torch.bincount(topology.target, minlength=topology.num_nodes).double()
    assert torch.equal(topology.degree, counts)
    if topology.adjacency is not None:
        assert torch.equal(topology.adjacency.sum(1), counts)


def test_self_loops_are_pyg_s(topology):
    from torch_geometric.utils import add_self_loops, coalesce, remove_self_loops

    edge_index = torch.stack([topology.source, topology.target])
    edge_index, attr = remove_self_loops(edge_index, topology.edge_attr)
    edge_index, attr = add_self_loops(edge_index, attr, fill_value="mean", num_nodes=topology.num_nodes)
    looped = topology.with_self_loops
    assert (looped.target[1:] >= looped.target[:-1]).all()
    looped_index = torch.stack([looped.source, looped.target])
    if attr is None:
        expected, counts = coalesce(edge_index, torch.ones(edge_index.shape[1]), topology.num_nodes)
        coalesced, coalesced_counts = coalesce(looped_index, torch.ones(looped_index.shape[1]), topology.num_nodes)
        assert torch.equal(coalesced, expected)
        assert torch.equal(coalesced_counts, counts)
        return
    pyg_features = coalesce(edge_index, attr, topology.num_nodes)  # sums features of parallel edges
    coalesced = coalesce(looped_index, looped.edge_attr, topology.num_nodes)
    assert torch.equal(coalesced[0], pyg_features[0])
    close(coalesced[1], pyg_features[1], rtol=ROUNDING)


def test_what_stands_at_another_node_never_reaches_a_lone_one():
    topology = topology_of_store("open")
    lone = topology.degree == 0
    assert lone.any()
    x = torch.full((1, topology.num_nodes, 1, 1), float("nan"), dtype=torch.float64)
    low, high = topology.source_extrema(x)
    assert not low[:, lone].any()
    assert not high[:, lone].any()


def test_a_large_shared_topology_has_no_dense_matrix(monkeypatch):
    monkeypatch.setattr(topologies, "MAX_DENSE_NODES", 3)
    assert complete(4).adjacency is None
    assert complete(3).adjacency is not None
