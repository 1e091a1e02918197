"""Molecules are what chemistry says of their SMILES."""

from __future__ import annotations

import csv
import gzip
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.alloys import silent
from helpers.molecules import TEXT, graphs, read

from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data.graph import Graph, SourceData
from ensemble_mtl.data.sources import smiles, smiles_molecule


def read_molecule(folder: Path, text: str, *, hydrogens: bool = False) -> tuple[Graph, tuple[str, ...]]:
    source_data = read(folder, f"smiles,gap\n{text},1\n", targets=["gap"], hydrogens=hydrogens)
    return source_data.graphs[0], source_data.bond_kinds


def bonds(graph: Graph, kinds: tuple[str, ...]) -> Counter[tuple[str, str, str]]:
    """(symbol, symbol, kind) of each directed edge."""
    symbols = {1: "H", 6: "C", 7: "N", 8: "O", 9: "F", 17: "Cl"}
    ends = [[symbols[int(graph.atomic_numbers[k])] for k in row] for row in graph.bonds.edge_index]
    return Counter((*pair, kinds[k]) for *pair, k in zip(*ends, graph.bonds.kind, strict=True))


def canonical(graph: Graph) -> tuple[list[int], list[tuple[int, int, int]]]:
    return graph.atomic_numbers.tolist(), sorted(zip(*graph.bonds.edge_index.tolist(), graph.bonds.kind, strict=True))


@pytest.mark.parametrize(
    ("text", "atoms", "expected"),
    [
        ("C", "C", {}),
        ("[H]N([H])[H]", "N", {}),
        ("[H][H]", "HH", {("H", "H", "single"): 2}),
        ("CO", "CO", {("C", "O", "single"): 1, ("O", "C", "single"): 1}),
        ("C=O", "CO", {("C", "O", "double"): 1, ("O", "C", "double"): 1}),
        ("C#N", "CN", {("C", "N", "triple"): 1, ("N", "C", "triple"): 1}),
        ("c1ccccc1", "CCCCCC", {("C", "C", "aromatic"): 12}),
        ("[NH4+].[Cl-]", "NCl", {}),
        ("[2H]C(F)(Cl)Br", "HCFClBr", None),
    ],
)
def test_atoms_and_bonds(tmp_path: Path, text: str, atoms: str, expected: dict[tuple[str, str, str], int]) -> None:
    graph, kinds = read_molecule(tmp_path, text)
    numbers = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9, "Cl": 17, "Br": 35}
    symbols = atoms.replace("Cl", "l").replace("Br", "r")
    assert sorted(graph.atomic_numbers) == sorted(numbers[{"l": "Cl", "r": "Br"}.get(s, s)] for s in symbols)
    assert graph.positions is None
    assert graph.bonds.edge_index.dtype == graph.bonds.kind.dtype == graph.atomic_numbers.dtype == np.int64
    if expected is not None:
        assert bonds(graph, kinds) == expected


def test_hydrogens_are_atoms_if_asked(tmp_path: Path) -> None:
    graph, kinds = read_molecule(tmp_path, "CO", hydrogens=True)
    assert sorted(graph.atomic_numbers) == [1, 1, 1, 1, 6, 8]
    assert bonds(graph, kinds)["H", "C", "single"] == bonds(graph, kinds)["C", "H", "single"] == 3
    alone, _ = read_molecule(tmp_path, "C", hydrogens=True)
    assert sorted(alone.atomic_numbers) == [1, 1, 1, 1, 6]


@pytest.mark.parametrize("hydrogens", [False, True])
@pytest.mark.parametrize(
    ("text", "same"),
    [("OCC", "CCO"), ("c1ccccc1O", "Oc1ccccc1"), ("C1=CC=CC=C1O", "Oc1ccccc1"), ("C[C@H](O)F", "C[C@@H](O)F")],
)
def test_a_molecule_is_one_graph_however_it_is_written(tmp_path: Path, text: str, same: str, hydrogens: bool) -> None:
    first, _ = read_molecule(tmp_path, text, hydrogens=hydrogens)
    second, _ = read_molecule(tmp_path, same, hydrogens=hydrogens)
    assert canonical(first) == canonical(second)


def test_isomers_differ(tmp_path: Path) -> None:
    assert canonical(read_molecule(tmp_path, "CCO")[0]) != canonical(read_molecule(tmp_path, "COC")[0])


def test_targets_units_and_missing_labels(tmp_path: Path) -> None:
    source_data = read(tmp_path, targets={"gap": "eV", "charge": None})
    assert [(info.name, info.level, info.unit) for info in source_data.targets] == [
        ("gap", "graph", "eV"),
        ("charge", "graph", ""),
    ]
    column = np.array([graph.targets["gap"][0] for graph in source_data.graphs])
    assert np.array_equal(column, [0.5, 0.25, np.nan, 0.125, 1.5], equal_nan=True)
    assert np.isnan(source_data.graphs[1].targets["charge"]).all()
    assert [graph.name for graph in source_data.graphs][:2] == ["2: C", "3: CO"]
    assert not source_data.skipped
    assert source_data.notes[0].startswith("SMILES read by RDKit 20")


def test_other_marks_of_missing_values_must_be_said(tmp_path: Path) -> None:
    text = TEXT.replace("CO,0.25,", "CO,NaN,n/a")
    with pytest.raises(DataError, match=r"molecules\.csv:3: column gap: got 'NaN', .*data\.missing"):
        read(tmp_path, text)
    source_data = read(tmp_path, text, missing=["NaN", "n/a"])
    assert all(np.isnan(values).all() for values in source_data.graphs[1].targets.values())


def test_rows_are_kept_by_conditions(tmp_path: Path) -> None:
    source_data = read(tmp_path, keep={"charge": ">= 1", "gap": "> 0 and <= 0.5"})
    assert [graph.name for graph in source_data.graphs] == ["2: C", "5: C#N"]
    assert source_data.notes[1] == "3 of 5 rows left out by data.keep (charge >= 1: 2, gap > 0 and <= 0.5: 2)"
    # a column that is no target; and what is left out need not be a molecule
    text = "smiles,gap,flag\nCC,1,0\nnonsense,2,1\n"
    assert len(read(tmp_path, text, targets=["gap"], keep={"flag": "!= 1"}).graphs) == 1
    with pytest.raises(DataError, match=r"no row is left of 5; check data\.path and data\.keep"):
        read(tmp_path, keep={"gap": "> 99"})


def test_what_a_spreadsheet_writes_is_read(tmp_path: Path) -> None:
    text = '\ufeff"smiles" , gap\r\n"C", 1 \r\n\r\n"CO"," 2"\r\n'
    unix = read(tmp_path, text.replace("\r\n", "\n"), targets=["gap"])
    (tmp_path / "dos.csv").write_bytes(text.encode())
    dos = smiles.read(smiles.Options(path=tmp_path / "dos.csv", targets=["gap"]), raw=tmp_path, progress=silent)
    for data in (unix, dos):
        assert [graph.targets["gap"][0] for graph in data.graphs] == [1.0, 2.0]
        assert [graph.name for graph in data.graphs] == ["2: C", "4: CO"]


@pytest.mark.parametrize("name", ["molecules.csv.gz", "molecules.csv"])
def test_a_gzipped_file_is_told_by_its_content(tmp_path: Path, name: str) -> None:
    expected = read(tmp_path)
    (tmp_path / name).write_bytes(gzip.compress(TEXT.encode(), mtime=0))
    file_options = smiles.Options(path=tmp_path / name, targets=["gap", "charge"])
    assert equal(smiles.read(file_options, raw=tmp_path, progress=silent), expected)


def equal(first: SourceData, second: SourceData) -> bool:
    return [(g.name, canonical(g)) for g in first.graphs] == [(g.name, canonical(g)) for g in second.graphs]


def test_parallel_reading_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = read(tmp_path, workers=1)
    monkeypatch.setattr(smiles, "SERIAL_MOLECULES", 2)
    monkeypatch.setattr(smiles, "_CHUNK", 2)
    assert equal(read(tmp_path, workers=2), alone)
    with pytest.raises(DataError, match=r"molecules\.csv:6: column smiles: got 'C=='"):
        read(tmp_path, TEXT.replace("C=O", "C=="), workers=2)


def test_the_store_holds_single_atoms_and_a_common_skeleton_once(tmp_path: Path) -> None:
    store = graphs(tmp_path, TEXT.replace("C=O", "C=N") + "O,1,1\nN=C,2,2\n")
    assert store.bond_kinds == ("single", "double", "triple", "aromatic")
    assert store.provenance["notes"][-1] == "2 of 7 graphs have no bond"
    # C and O are one topology of an atom, and C=N is N=C; names and targets stay their own
    assert len(store.topologies) == 5
    assert store.topology[0] == store.topology[5]
    assert store.topology[4] == store.topology[6]


def test_exotic_bonds_have_names_of_their_own(tmp_path: Path) -> None:
    assert read_molecule(tmp_path, "N->[Cu]")[1] == ("single", "double", "triple", "aromatic", "dative")


def test_reading_a_configuration_does_not_load_rdkit() -> None:
    import subprocess

    code = (
        "import sys; from ensemble_mtl.data.sources import smiles; smiles.Options(path='x', targets=['a']);"
        "sys.exit(any(name.startswith('rdkit') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_long_molecules_are_read_in_time(tmp_path: Path) -> None:
    chain = "C" * smiles_molecule.MAX_LENGTH
    with open(tmp_path / "long.csv", "w", newline="") as file:
        csv.writer(file).writerows([["smiles", "gap"], [chain, 1]])
    source_data = smiles.read(
        smiles.Options(path=tmp_path / "long.csv", targets=["gap"]), raw=tmp_path, progress=silent
    )
    assert source_data.graphs[0].bonds.edge_index.shape == (2, 2 * (len(chain) - 1))
