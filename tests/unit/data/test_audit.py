import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import molecules
from helpers.alloys import graphs

from ensemble_mtl.data import audit, audit_text
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.graph import TargetInfo


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GraphStore:
    return graphs(tmp_path_factory.mktemp("raw"), num_configurations=100)


def with_targets(store: GraphStore, **values: np.ndarray) -> GraphStore:
    info = tuple(TargetInfo(name, "graph", "eV") for name in values)
    return dataclasses.replace(store, info=info, targets=values)


def test_counts(store: GraphStore) -> None:
    summary = audit.audit(store)
    assert (summary.num_graphs, summary.num_nodes, summary.num_topologies) == (100, 1600, 1)
    assert sum(summary.compositions.values()) == 100
    assert summary.compositions["Fe16"] == 1
    assert {"Fe16", "Pt16"} <= set(summary.single_compositions)
    assert summary.elements["Fe"] + summary.elements["Pt"] == 1600
    assert summary.arrangements == audit.Duplicates(100, 0, 0, summary.arrangements.max_difference)
    assert summary.symmetric is not None
    assert summary.symmetric.num_extra > 0
    assert summary.symmetric.max_difference["mixing_enthalpy"] < 1e-9
    assert summary.max_charge_per_atom < 1e-6
    assert summary.synthetic


def test_it_is_json_and_text(store: GraphStore) -> None:
    summary = audit.audit(store)
    assert json.loads(json.dumps(summary.to_json(), allow_nan=False))["num_graphs"] == 100
    text = audit_text.describe(summary)
    assert text.startswith("SYNTHETIC")
    assert "mixing_enthalpy (graph, Ry): " in text


def test_copies_constants_and_missing_values_are_found(store: GraphStore) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=100)
    a[3] = np.nan
    changed = with_targets(
        store,
        a=a,
        same=a.copy(),
        line=1000 - 3 * a,
        near=a + 1e-3 * rng.normal(size=100),
        flat=np.ones(100),
        none=a * np.nan,
    )
    summary = audit.audit(changed)
    assert summary.duplicated_targets == [("a", "same")]
    assert summary.linear_targets == [("a", "line"), ("same", "line")]
    by_name = {target.name: target for target in summary.targets}
    assert by_name["a"].num_missing == 1
    assert by_name["flat"].constant
    assert by_name["none"].mean is None
    assert summary.max_charge_per_atom is None
    text = audit_text.describe(summary)
    assert "warning: a and same are equal in every value" in text
    assert "CONSTANT" in text
    assert "none (graph, eV): no values" in text


def test_repeated_graphs_and_their_disagreement_are_found(store: GraphStore) -> None:
    species = store.atomic_numbers.reshape(100, 16).copy()
    species[7] = species[8] = species[5]
    energy = np.zeros(100)
    energy[8] = 0.5
    changed = dataclasses.replace(with_targets(store, energy=energy), atomic_numbers=species.ravel())
    duplicates = audit.audit(changed).arrangements
    assert (duplicates.num_distinct, duplicates.num_groups, duplicates.num_extra) == (98, 1, 2)
    assert duplicates.max_difference == {"energy": 0.5}


def test_without_a_cell_symmetry_is_unknown(store: GraphStore) -> None:
    bare = dataclasses.replace(store.topologies, cells=np.full_like(store.topologies.cells, np.nan))
    summary = audit.audit(dataclasses.replace(store, topologies=bare))
    assert summary.symmetric is None
    assert "set data.cell" in audit_text.describe(summary)


def test_bonds_are_counted_once_and_symmetry_is_no_matter(tmp_path: Path) -> None:
    summary = audit.audit(molecules.graphs(tmp_path, molecules.TEXT + "C=O,2,1\n"))
    assert summary.bonds == {"single": 1, "double": 2, "triple": 1, "aromatic": 6}
    assert summary.elements == {"C": 11, "N": 1, "O": 3}
    assert summary.arrangements.num_extra == 1
    assert summary.arrangements.max_difference == {"gap": 0.5, "charge": 3.0}
    text = audit_text.describe(summary)
    assert "\nbonds: single 1, double 2, triple 1, aromatic 6\n" in text
    assert "molecules: 5 distinct; 1 graphs repeat an earlier one, in 1 groups; within groups charge differs" in text
    assert "symmetry" not in text
    assert audit.audit(molecules.graphs(tmp_path, "smiles,gap,charge\nC,1,1\n")).bonds == {}


def test_equal_targets_are_told_among_those_named(store: GraphStore) -> None:
    a = np.arange(100.0)
    changed = with_targets(store, a=a, b=a, c=a + 1)
    assert audit.equal_targets(changed, ["a", "b", "c"]) == [("a", "b")]
    assert audit.equal_targets(changed, ["a", "c"]) == []
