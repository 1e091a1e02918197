import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import molecules
from helpers.alloys import graphs

from ensemble_mtl.data import audit
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import TargetInfo


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GraphStore:
    return graphs(tmp_path_factory.mktemp("raw"), num_configurations=100)


def with_targets(store: GraphStore, **values: np.ndarray) -> GraphStore:
    info = tuple(TargetInfo(name, "graph", "eV") for name in values)
    return dataclasses.replace(store, info=info, targets=values)


def test_counts(store: GraphStore) -> None:
    found = audit.audit(store)
    assert (found.num_graphs, found.num_nodes, found.num_topologies) == (100, 1600, 1)
    assert sum(found.compositions.values()) == 100
    assert found.compositions["Fe16"] == 1
    assert {"Fe16", "Pt16"} <= set(found.single_compositions)
    assert found.elements["Fe"] + found.elements["Pt"] == 1600
    assert found.arrangements == audit.Duplicates(100, 0, 0, found.arrangements.max_difference)
    assert found.symmetric is not None
    assert found.symmetric.num_extra > 0
    assert found.symmetric.max_difference["mixing_enthalpy"] < 1e-9
    assert found.max_charge_per_atom < 1e-6
    assert found.synthetic


def test_it_is_json_and_text(store: GraphStore) -> None:
    found = audit.audit(store)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["num_graphs"] == 100
    text = audit.describe(found)
    assert text.startswith("SYNTHETIC")
    assert "mixing_enthalpy (graph, Ry): " in text


def test_copies_constants_and_missing_values_are_found(store: GraphStore) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=100)
    a[3] = np.nan
    made = with_targets(
        store,
        a=a,
        same=a.copy(),
        line=1000 - 3 * a,
        near=a + 1e-3 * rng.normal(size=100),
        flat=np.ones(100),
        none=a * np.nan,
    )
    found = audit.audit(made)
    assert found.duplicated_targets == [("a", "same")]
    assert found.linear_targets == [("a", "line"), ("same", "line")]
    by_name = {target.name: target for target in found.targets}
    assert by_name["a"].num_missing == 1
    assert by_name["flat"].constant
    assert by_name["none"].mean is None
    assert found.max_charge_per_atom is None
    text = audit.describe(found)
    assert "warning: a and same are equal in every value" in text
    assert "CONSTANT" in text
    assert "none (graph, eV): no values" in text


def test_repeated_graphs_and_their_disagreement_are_found(store: GraphStore) -> None:
    species = store.atomic_numbers.reshape(100, 16).copy()
    species[7] = species[8] = species[5]
    energy = np.zeros(100)
    energy[8] = 0.5
    made = dataclasses.replace(with_targets(store, energy=energy), atomic_numbers=species.ravel())
    found = audit.audit(made).arrangements
    assert (found.num_distinct, found.num_groups, found.num_extra) == (98, 1, 2)
    assert found.max_difference == {"energy": 0.5}


def test_without_a_cell_symmetry_is_unknown(store: GraphStore) -> None:
    bare = dataclasses.replace(store.topologies, cells=np.full_like(store.topologies.cells, np.nan))
    found = audit.audit(dataclasses.replace(store, topologies=bare))
    assert found.symmetric is None
    assert "set data.cell" in audit.describe(found)


def test_bonds_are_counted_once_and_symmetry_is_no_matter(tmp_path: Path) -> None:
    found = audit.audit(molecules.graphs(tmp_path, molecules.TEXT + "C=O,2,1\n"))
    assert found.bonds == {"single": 1, "double": 2, "triple": 1, "aromatic": 6}
    assert found.elements == {"C": 11, "N": 1, "O": 3}
    assert found.arrangements.num_extra == 1
    assert found.arrangements.max_difference == {"gap": 0.5, "charge": 3.0}
    text = audit.describe(found)
    assert "\nbonds: single 1, double 2, triple 1, aromatic 6\n" in text
    assert "molecules: 5 distinct; 1 graphs repeat an earlier one, in 1 groups; within groups charge differs" in text
    assert "symmetry" not in text
    assert audit.audit(molecules.graphs(tmp_path, "smiles,gap,charge\nC,1,1\n")).bonds == {}


def test_equal_targets_are_told_among_those_named(store: GraphStore) -> None:
    a = np.arange(100.0)
    made = with_targets(store, a=a, b=a, c=a + 1)
    assert audit.equal_targets(made, ["a", "b", "c"]) == [("a", "b")]
    assert audit.equal_targets(made, ["a", "c"]) == []
