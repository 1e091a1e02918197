"""Molecules are what chemistry says of their SMILES, and every fault of a file is named by its line."""

from __future__ import annotations

import csv
import gzip
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from helpers.alloys import silent
from helpers.molecules import TEXT, graphs, options, read
from pydantic import ValidationError

from ensemble_mtl.config import file as config_file
from ensemble_mtl.config.sections import GraphConfig
from ensemble_mtl.core.errors import ConfigError, DataError
from ensemble_mtl.data.graph import Graph, SourceData
from ensemble_mtl.data.sources import smiles, smiles_molecule, smiles_table


def one(folder: Path, text: str, *, hydrogens: bool = False) -> tuple[Graph, tuple[str, ...]]:
    found = read(folder, f"smiles,gap\n{text},1\n", targets=["gap"], hydrogens=hydrogens)
    return found.graphs[0], found.bond_kinds


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
    graph, kinds = one(tmp_path, text)
    numbers = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9, "Cl": 17, "Br": 35}
    symbols = atoms.replace("Cl", "l").replace("Br", "r")
    assert sorted(graph.atomic_numbers) == sorted(numbers[{"l": "Cl", "r": "Br"}.get(s, s)] for s in symbols)
    assert graph.positions is None
    assert graph.bonds.edge_index.dtype == graph.bonds.kind.dtype == graph.atomic_numbers.dtype == np.int64
    if expected is not None:
        assert bonds(graph, kinds) == expected


def test_hydrogens_are_atoms_if_asked(tmp_path: Path) -> None:
    graph, kinds = one(tmp_path, "CO", hydrogens=True)
    assert sorted(graph.atomic_numbers) == [1, 1, 1, 1, 6, 8]
    assert bonds(graph, kinds)["H", "C", "single"] == bonds(graph, kinds)["C", "H", "single"] == 3
    alone, _ = one(tmp_path, "C", hydrogens=True)
    assert sorted(alone.atomic_numbers) == [1, 1, 1, 1, 6]


@pytest.mark.parametrize("hydrogens", [False, True])
@pytest.mark.parametrize(
    ("text", "same"),
    [("OCC", "CCO"), ("c1ccccc1O", "Oc1ccccc1"), ("C1=CC=CC=C1O", "Oc1ccccc1"), ("C[C@H](O)F", "C[C@@H](O)F")],
)
def test_a_molecule_is_one_graph_however_it_is_written(tmp_path: Path, text: str, same: str, hydrogens: bool) -> None:
    first, _ = one(tmp_path, text, hydrogens=hydrogens)
    second, _ = one(tmp_path, same, hydrogens=hydrogens)
    assert canonical(first) == canonical(second)


def test_isomers_differ(tmp_path: Path) -> None:
    assert canonical(one(tmp_path, "CCO")[0]) != canonical(one(tmp_path, "COC")[0])


def test_targets_units_and_missing_labels(tmp_path: Path) -> None:
    found = read(tmp_path, targets={"gap": "eV", "charge": None})
    assert [(info.name, info.level, info.unit) for info in found.targets] == [
        ("gap", "graph", "eV"),
        ("charge", "graph", ""),
    ]
    column = np.array([graph.targets["gap"][0] for graph in found.graphs])
    assert np.array_equal(column, [0.5, 0.25, np.nan, 0.125, 1.5], equal_nan=True)
    assert np.isnan(found.graphs[1].targets["charge"]).all()
    assert [graph.name for graph in found.graphs][:2] == ["2: C", "3: CO"]
    assert not found.skipped
    assert found.notes[0].startswith("SMILES read by RDKit 20")


def test_other_marks_of_missing_values_must_be_said(tmp_path: Path) -> None:
    text = TEXT.replace("CO,0.25,", "CO,NaN,n/a")
    with pytest.raises(DataError, match=r"molecules\.csv:3: column gap: got 'NaN', .*data\.missing"):
        read(tmp_path, text)
    found = read(tmp_path, text, missing=["NaN", "n/a"])
    assert all(np.isnan(values).all() for values in found.graphs[1].targets.values())


def test_rows_are_kept_by_conditions(tmp_path: Path) -> None:
    found = read(tmp_path, keep={"charge": ">= 1", "gap": "> 0 and <= 0.5"})
    assert [graph.name for graph in found.graphs] == ["2: C", "5: C#N"]
    assert found.notes[1] == "3 of 5 rows left out by data.keep (charge >= 1: 2, gap > 0 and <= 0.5: 2)"
    # a column that is no target; and what is left out need not be a molecule
    text = "smiles,gap,flag\nCC,1,0\nnonsense,2,1\n"
    assert len(read(tmp_path, text, targets=["gap"], keep={"flag": "!= 1"}).graphs) == 1
    with pytest.raises(DataError, match=r"no row is left of 5; check data\.path and data\.keep"):
        read(tmp_path, keep={"gap": "> 99"})


@pytest.mark.parametrize("text", ["0", ">= ", ">= x", "=> 0", ">= nan", "> 0 or < 1", "> 0 and", ">= 1; import os"])
def test_a_condition_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValidationError, match="expected a comparison such as '>= 0'"):
        options(tmp_path, keep={"gap": text})


FAULTS = {
    "syntax": ("CO", "C(", ":3: column smiles: got 'C(', which is not SMILES"),
    "valence": ("CO", "F(C)C", ":3: column smiles: got 'F(C)C', which is no molecule (Explicit valence"),
    "ring": ("CO", "c1cccc1", ":3: column smiles: got 'c1cccc1', which is no molecule (Can't kekulize"),
    "none": ("CO", "", ":3: column smiles: got nothing, expected a SMILES text"),
    "unknown atom": ("CO", "C*", ":3: column smiles: got 'C*', in which * stands for an unknown atom"),
    "two words": ("CO", "CO methanol", ":3: column smiles: got 'CO methanol', expected at most 2000 printable"),
    "escape": ("CO", "CO\x1b[2J", ":3: column smiles: got 'CO\\x1b[2J', expected at most"),
    "zero": ("CO", "CO\0", ":3: column smiles: got 'CO\\x00', expected at most"),
    "endless": ("CO", "C" * 2001, f":3: column smiles: got '{'C' * 60}…', expected at most"),
    "word": ("0.25", "high", ":3: column gap: got 'high', expected a finite number, or nothing"),
    "infinite": ("0.25", "inf", ":3: column gap: got 'inf', expected a finite number"),
    "underscore": ("0.25", "1_0", ":3: column gap: got '1_0', expected a finite number"),
    "long": ("0.25", "x" * 99, f":3: column gap: got '{'x' * 40}…', expected a finite number"),
    "short row": ("CO,0.25,", "CO,0.25", ":3: got 2 fields, expected 3"),
    "long row": ("CO,0.25,", "CO,0.25,1,2", ":3: got 4 fields, expected 3"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_named_by_its_line_and_can_be_skipped(tmp_path: Path, fault: str) -> None:
    old, new, expected = FAULTS[fault]
    text = TEXT.replace(old, new, 1)
    with pytest.raises(DataError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"molecules.csv{expected}")
    assert "data.on_error: skip" in str(error.value)
    found = read(tmp_path, text, on_error="skip")
    assert len(found.graphs) == 4
    assert len(found.skipped) == 1
    assert found.skipped[0].startswith(f"molecules.csv{expected}")


def test_many_faults_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "smiles,gap\n" + "".join(f"{'C(' if k % 2 else 'C'},{'x' if k % 2 == 0 else 1}\n" for k in range(9))
    with pytest.raises(DataError) as error:
        read(tmp_path, text, targets=["gap"])
    lines = str(error.value).splitlines()
    assert [line.split(":")[1] for line in lines[:5]] == ["2", "3", "4", "5", "6"]
    assert lines[5] == "… and 4 more malformed rows"
    with pytest.raises(DataError, match=r"all 9 rows are malformed: molecules\.csv:2"):
        read(tmp_path, text, targets=["gap"], on_error="skip")


def test_what_a_spreadsheet_writes_is_read(tmp_path: Path) -> None:
    text = '\ufeff"smiles" , gap\r\n"C", 1 \r\n\r\n"CO"," 2"\r\n'
    found = read(tmp_path, text.replace("\r\n", "\n"), targets=["gap"])
    (tmp_path / "dos.csv").write_bytes(text.encode())
    dos = smiles.read(smiles.Options(path=tmp_path / "dos.csv", targets=["gap"]), raw=tmp_path, progress=silent)
    for data in (found, dos):
        assert [graph.targets["gap"][0] for graph in data.graphs] == [1.0, 2.0]
        assert [graph.name for graph in data.graphs] == ["2: C", "4: CO"]


@pytest.mark.parametrize("name", ["molecules.csv.gz", "molecules.csv"])
def test_a_gzipped_file_is_told_by_its_content(tmp_path: Path, name: str) -> None:
    expected = read(tmp_path)
    (tmp_path / name).write_bytes(gzip.compress(TEXT.encode(), mtime=0))
    given = smiles.Options(path=tmp_path / name, targets=["gap", "charge"])
    assert equal(smiles.read(given, raw=tmp_path, progress=silent), expected)


def equal(first: SourceData, second: SourceData) -> bool:
    return [(g.name, canonical(g)) for g in first.graphs] == [(g.name, canonical(g)) for g in second.graphs]


def test_parallel_reading_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = read(tmp_path, workers=1)
    monkeypatch.setattr(smiles, "SERIAL_MOLECULES", 2)
    monkeypatch.setattr(smiles, "_CHUNK", 2)
    assert equal(read(tmp_path, workers=2), alone)
    with pytest.raises(DataError, match=r"molecules\.csv:6: column smiles: got 'C=='"):
        read(tmp_path, TEXT.replace("C=O", "C=="), workers=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"molecules\.csv:1: empty, expected the names of the columns"),
        (
            b"smile,gap,charge\n",
            r"no such column: got 'smiles', expected one of smile, gap, charge; did you mean 'smile'\?",
        ),
        (b"smiles,gap\n", r"no such column: got 'charge', expected one of smiles, gap"),
        (b"smiles,gap,charge\n", "no row is left of 0"),
        (b"smiles,gap,charge\n\xff\xfe,1,1\n", r"not a text file \(invalid start byte at byte"),
        (b"\x1f\x8b\x08\x00broken", "damaged archive"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], "damaged archive"),
        (b'smiles,gap,charge\n"' + b"x" * 200_000, r"molecules\.csv:\d+: not CSV \(field larger than"),
        (b"smiles,gap,charge\n" + b"x" * (smiles_table.MAX_LINE + 1), r"molecules\.csv:2: longer than 1048576 char"),
        (gzip.compress(b" " * 50_000_000, mtime=0), r"molecules\.csv:1: longer than 1048576 characters"),
    ],
)
def test_strange_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    given = options(tmp_path)
    given.path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        smiles.read(given, raw=tmp_path, progress=silent)


@pytest.mark.parametrize("path", ["gone.csv", "."])
def test_a_file_that_is_none_is_refused(tmp_path: Path, path: str) -> None:
    given = smiles.Options(path=tmp_path / path, targets=["gap"])
    with pytest.raises(DataError, match=r"there is no such file; correct data\.path"):
        smiles.read(given, raw=tmp_path, progress=silent)


def test_a_column_that_stands_twice_is_refused_unless_told(tmp_path: Path) -> None:
    text = "smiles,gap,other,gap\nC,1,5,1\nCC,2,6,2\n"
    with pytest.raises(DataError, match=r"column 'gap' stands there more than once, with the same values"):
        read(tmp_path, text, targets=["gap"])
    with pytest.raises(DataError, match=r"'gap' stands there more than once, with other values, .*duplicates: allow"):
        read(tmp_path, text.replace("6,2", "6,3"), targets=["gap"])
    found = read(tmp_path, text.replace("6,2", "6,3"), targets=["gap"], duplicates="allow")
    assert [graph.targets["gap"][0] for graph in found.graphs] == [1.0, 2.0]
    # columns that nobody chose may do as they like, but are told of
    assert read(tmp_path, text, targets=["other"]).notes[-1] == "columns that stand more than once in the file: gap"
    with pytest.raises(DataError, match="column 'gap' stands there more than once"):
        read(tmp_path, text, targets=["other"], keep={"gap": "> 0"}, duplicates="allow")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"targets": []}, "at least 1"),
        ({"targets": {}}, "at least 1"),
        ({"targets": ["gap", "gap"]}, "expected each column once, got gap more often"),
        ({"targets": "gap"}, "expected a list of columns, or a mapping"),
        ({"targets": {"gap": 3}}, "valid string"),
        ({"hydrogens": "some"}, "valid boolean"),
        ({"column": "smiles"}, "Extra inputs"),
    ],
)
def test_malformed_options_are_refused(tmp_path: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        options(tmp_path, **given)


def test_the_store_holds_single_atoms_and_a_common_skeleton_once(tmp_path: Path) -> None:
    found = graphs(tmp_path, TEXT.replace("C=O", "C=N") + "O,1,1\nN=C,2,2\n")
    assert found.bond_kinds == ("single", "double", "triple", "aromatic")
    assert found.provenance["notes"][-1] == "2 of 7 graphs have no bond"
    # C and O are one topology of an atom, and C=N is N=C; names and targets stay their own
    assert len(found.topologies) == 5
    assert found.topology[0] == found.topology[5]
    assert found.topology[4] == found.topology[6]


def test_exotic_bonds_have_names_of_their_own(tmp_path: Path) -> None:
    assert one(tmp_path, "N->[Cu]")[1] == ("single", "double", "triple", "aromatic", "dative")


STUDY = """\
name: small
data: {name: smiles, path: molecules.csv, targets: [gap, charge]}
graph: {bonds: [single]}
model: {conv: cgcnn}
tasks: {G: {target: gap}}
"""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tasks.G.target=gaps", "tasks.G.target: got 'gaps', expected one of gap, charge; did you mean 'gap'?"),
        ("graph.radius=3", "graph.radius: data 'smiles' gives the bonds itself, so no neighbours are searched; leave"),
        ("graph.periodic=true", "graph.periodic: data 'smiles' gives the bonds itself"),
        ("model.edge_basis=8", "model.edge_basis: data 'smiles' gives bonds without lengths; leave it out, and set"),
        ("model.conv=gin", "graph.bonds: the model has no use for features of edges; leave it out, got ['single']"),
        ("data={name: alloy}", "graph.bonds: data 'alloy' gives no bonds; leave it out (model.edge_basis expands"),
        ("graph.bonds=all", "graph.bonds: expected 'found' or a list, got 'all'"),
        ("graph.bonds=[single, single]", "graph.bonds: expected each entry once, got ['single', 'single']"),
        ("graph.bonds=[]", "graph: bonds: got none, expected kinds such as single; leave it out for no features"),
        ("graph.elements=found", "graph: node_features: one_hot and a list of elements go together; give both or"),
        ("data.keep={gap: more}", "data.keep.gap: got 'more', expected a comparison such as '>= 0'"),
    ],
)
def test_what_does_not_fit_is_told_where_it_was_written(tmp_path: Path, override: str, message: str) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    config_file.load(tmp_path / "study.yaml")
    overrides = (override, "tasks.G.target=mixing_enthalpy") if "alloy" in override else (override,)
    with pytest.raises(ConfigError) as error:
        config_file.load(tmp_path / "study.yaml", overrides)
    (line,) = str(error.value).splitlines()
    assert f": {message}" in line


def test_members_of_studies_without_bonds_keep_their_names() -> None:
    assert "bonds" not in GraphConfig().model_dump()
    assert GraphConfig(bonds="found").model_dump()["bonds"] == "found"


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
    found = smiles.read(smiles.Options(path=tmp_path / "long.csv", targets=["gap"]), raw=tmp_path, progress=silent)
    assert found.graphs[0].bonds.edge_index.shape == (2, 2 * (len(chain) - 1))
