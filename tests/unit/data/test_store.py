import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers.alloys import data, graphs

from ensemble_mtl.config.sections import GraphConfig
from ensemble_mtl.core.errors import DataError, StoreError
from ensemble_mtl.core.storage import bp
from ensemble_mtl.data import store
from ensemble_mtl.data.graph import Bonds, Graph, SourceData, TargetInfo

INFO = (TargetInfo("energy", "graph", "eV"), TargetInfo("charge", "node", "e"))


def graph(name: str, positions: list[list[float]], cell: np.ndarray | None = None, **changes: object) -> Graph:
    num = len(positions)
    targets = {"energy": np.ones(1), "charge": np.arange(num, dtype=float)}
    carbon = Graph(name, np.full(num, 6), np.array(positions, dtype=float), targets, cell)
    return dataclasses.replace(carbon, **changes)


PAIR = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]


def test_a_lattice_shared_by_all_graphs_is_stored_once(tmp_path: Path) -> None:
    built = graphs(tmp_path)
    assert len(built) == 60
    assert len(built.topologies) == 1
    assert not built.topology.any()
    assert built.topologies.num_nodes(0) == 16
    assert built.atomic_numbers.dtype == np.int16
    assert built.targets["charge_transfer"].shape == (960,)
    assert built.provenance["synthetic"]


def test_topologies_differ_by_sites_and_by_cell() -> None:
    moved = [[0.0, 0, 0], [1.1, 0, 0]]
    cell = np.eye(3) * 5
    structures = [
        graph("a", PAIR),
        graph("b", moved),
        graph("c", [[-0.0, 0, 0], PAIR[1]]),
        graph("d", PAIR, cell),
        graph("e", PAIR[:1]),
    ]
    built = store.build(SourceData(structures, INFO), GraphConfig(radius=2.0), {})
    assert built.topology.tolist() == [0, 1, 0, 2, 3]
    assert built.topologies.node_ptr.tolist() == [0, 2, 4, 6, 7]
    assert built.topologies.edges(1).tolist() == [[1, 0], [0, 1]]
    assert built.topologies.edge_ptr.tolist() == [0, 2, 4, 6, 6]
    assert np.isnan(built.topologies.cells[0]).all()
    assert np.array_equal(built.topologies.cells[2], cell)
    assert built.provenance["notes"] == [
        "1 of 5 graphs have no edge: no two atoms are within 2 angstrom; is the unit right?"
    ]


def test_the_radius_follows_its_unit() -> None:
    pair = SourceData([graph("a", PAIR)], INFO)
    assert store.build(pair, GraphConfig(radius=1.5, radius_unit="bohr"), {}).topologies.edges(0).shape == (2, 0)
    assert store.build(pair, GraphConfig(radius=1.9, radius_unit="bohr"), {}).topologies.edges(0).shape == (2, 2)


def test_saved_is_loaded(tmp_path: Path) -> None:
    built = graphs(tmp_path)
    store.save(tmp_path / "data.bp", built)
    loaded = store.load(tmp_path / "data.bp")
    assert loaded.names == built.names
    assert loaded.info == built.info
    assert loaded.provenance == built.provenance
    assert loaded.sha256 == built.sha256 == store.content_sha256(loaded)


def test_the_hash_follows_the_content_alone(tmp_path: Path) -> None:
    built = graphs(tmp_path)
    assert graphs(tmp_path / "again").sha256 == built.sha256
    targets = {**built.targets, "charge": built.targets["charge"] + np.spacing(80.0)}
    names = ["x", *built.names[1:]]
    renamed = (dataclasses.replace(built.info[0], unit="eV"), *built.info[1:])
    for changed in ({"targets": targets}, {"names": names}, {"info": renamed}):
        assert store.content_sha256(dataclasses.replace(built, **changed)) != built.sha256
    assert store.content_sha256(dataclasses.replace(built, provenance={"x": 1})) == built.sha256


@pytest.mark.parametrize(
    ("structures", "message"),
    [
        ([], "gave no graphs"),
        ([graph("a", PAIR), graph("a", PAIR)], "a: two graphs have this name"),
        ([graph("a\nb", PAIR)], "one line of text"),
        ([graph("a", PAIR, targets={"energy": np.ones(1)})], "a: target charge: got none"),
        ([graph("a", PAIR, targets={"energy": np.ones(2), "charge": np.ones(2)})], r"target energy: got \(2,\)"),
        ([graph("a", PAIR, targets={"energy": np.array([np.inf]), "charge": np.ones(2)})], "energy: got infinite"),
        ([dataclasses.replace(graph("a", PAIR), positions=None)], "a: got no position for each atom"),
        ([graph("a", [[0, 0, 0], [0, 0, 0]])], "a: neighbours: sites"),
    ],
)
def test_malformed_graphs_are_refused_by_name(structures: list[Graph], message: str) -> None:
    with pytest.raises(DataError, match=message):
        store.build(SourceData(structures, INFO), GraphConfig(), {})


def test_periodic_edges_need_a_cell() -> None:
    with pytest.raises(DataError, match=r"a: graph\.periodic: true .* set data\.cell"):
        store.build(SourceData([graph("a", PAIR)], INFO), GraphConfig(periodic=True), {})


def test_missing_labels_stay_nan(tmp_path: Path) -> None:
    entry = graph("a", PAIR, targets={"energy": np.array([np.nan]), "charge": np.ones(2)})
    built = store.build(SourceData([entry], INFO), GraphConfig(), {})
    store.save(tmp_path / "data.bp", built)
    assert np.isnan(store.load(tmp_path / "data.bp").targets["energy"]).all()


def test_another_bp_store_is_refused(tmp_path: Path) -> None:
    bp.save(tmp_path / "x.bp", {"a": np.ones(2)}, {"format": 1})
    with pytest.raises(StoreError, match="that is not one of graphs"):
        store.load(tmp_path / "x.bp")
    bp.save(tmp_path / "x.bp", {"a": np.ones(2)}, {"format": 99})
    with pytest.raises(StoreError, match="format 99, expected"):
        store.load(tmp_path / "x.bp")


def test_the_source_is_whole(tmp_path: Path) -> None:
    source_data = data(tmp_path)
    assert {info.name for info in source_data.targets} >= {"mixing_enthalpy", "charge_transfer", "magnetic_moment"}


KINDS = ("single", "double")


def molecule(
    name: str, num_nodes: int, *bonds: tuple[int, int, int], one_way: bool = False, **changes: object
) -> Graph:
    """Bonds are (atom, atom, kind), and stand in both directions unless ``one_way``."""
    rows = [entry for a, b, kind in bonds for entry in ((a, b, kind), (b, a, kind))[: 1 if one_way else 2]]
    columns = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    targets = {"energy": np.ones(1), "charge": np.zeros(num_nodes)}
    carbon = Graph(name, np.full(num_nodes, 6), None, targets, bonds=Bonds(columns[:2], columns[2]))
    return dataclasses.replace(carbon, **changes)


def test_given_bonds_make_the_edges() -> None:
    structures = [
        molecule("a", 3, (2, 0, 1), (0, 1, 0)),
        molecule("b", 1),
        molecule("c", 3, (0, 1, 0), (0, 2, 1)),
        molecule("d", 3, (0, 1, 1), (0, 2, 1)),
        molecule("e", 2),
        molecule("f", 2, (0, 1, 0), (0, 1, 1)),
    ]
    built = store.build(SourceData(structures, INFO, bond_kinds=KINDS), GraphConfig(), {})
    assert built.topology.tolist() == [0, 1, 0, 2, 3, 4]  # the order of bonds does not matter, their kinds do
    assert built.topologies.edges(0).tolist() == [[1, 2, 0, 0], [0, 0, 1, 2]]
    assert built.topologies.bond_kind.tolist() == [0, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1]
    assert built.topologies.edges(4).tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]
    assert np.isnan(built.topologies.edge_length).all()
    assert np.isnan(built.topologies.positions).all()
    assert built.provenance["notes"] == ["2 of 6 graphs have no bond"]


@pytest.mark.parametrize("structures", [[molecule("a", 3, (2, 0, 1), (0, 1, 0)), molecule("b", 1)], [molecule("a", 1)]])
def test_saved_bonds_are_loaded(tmp_path: Path, structures: list[Graph]) -> None:
    built = store.build(SourceData(structures, INFO, bond_kinds=KINDS), GraphConfig(), {})
    store.save(tmp_path / "data.bp", built)
    loaded = store.load(tmp_path / "data.bp")
    assert loaded.bond_kinds == KINDS
    assert loaded.topologies.bond_kind.dtype == np.int16
    assert np.array_equal(loaded.topologies.bond_kind, built.topologies.bond_kind)
    assert loaded.sha256 == built.sha256 == store.content_sha256(loaded)
    renamed = dataclasses.replace(loaded, bond_kinds=("single", "triple"))
    assert store.content_sha256(renamed) != loaded.sha256


def test_a_store_without_bonds_has_a_hash_of_its_content_alone(tmp_path: Path) -> None:
    built = store.build(SourceData([graph("a", PAIR)], INFO), GraphConfig(radius=2.0), {})
    assert built.sha256 == "8286d206f2dfb3beefa092d99bb0c28365c43ec0a89246191436d91be2c23565"
    store.save(tmp_path / "data.bp", built)
    arrays, meta = bp.load(tmp_path / "data.bp")
    assert meta["bond_kinds"] == []
    assert "topology/bond_kind" not in arrays
    assert store.load(tmp_path / "data.bp").topologies.bond_kind is None


def test_a_store_of_another_format_is_refused(tmp_path: Path) -> None:
    store.save(tmp_path / "data.bp", store.build(SourceData([graph("a", PAIR)], INFO), GraphConfig(), {}))
    arrays, meta = bp.load(tmp_path / "data.bp")
    bp.save(tmp_path / "later.bp", arrays, {**meta, "format": 2})
    with pytest.raises(StoreError, match="of format 2, expected 1; delete it"):
        store.load(tmp_path / "later.bp")


@pytest.mark.parametrize(
    "malformed",
    [
        molecule("x", 2, (0, 2, 0)),
        molecule("x", 2, (-1, 0, 0)),
        molecule("x", 2, (0, 1, 2)),
        molecule("x", 2, (0, 0, 0)),
        molecule("x", 2, (0, 1, 0), one_way=True),
        molecule("x", 2, (0, 1, 0), (1, 0, 1), one_way=True),
        molecule("x", 2, (0, 1, 0), positions=np.zeros((2, 3))),
        molecule("x", 2, bonds=Bonds(np.zeros((2, 3), dtype=np.int64), np.zeros(2, dtype=np.int64))),
        molecule("x", 2, bonds=Bonds(np.array([[0.0, 1], [1, 0]]), np.zeros(2, dtype=np.int64))),
    ],
)
def test_malformed_bonds_are_refused_by_name(malformed: Graph) -> None:
    with pytest.raises(DataError, match=r"x: malformed bonds, expected pairs of its 2 atoms"):
        store.build(SourceData([malformed], INFO, bond_kinds=KINDS), GraphConfig(), {})


def test_all_graphs_have_bonds_or_none_has() -> None:
    for kinds, name in ((KINDS, "a"), ((), "b")):
        with pytest.raises(DataError, match=f"{name}: got .*given bonds"):
            store.build(SourceData([graph("a", PAIR), molecule("b", 1)], INFO, bond_kinds=kinds), GraphConfig(), {})
