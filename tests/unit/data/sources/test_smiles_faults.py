"""Every fault of a file of SMILES is named by its line, and every fault of the options by its key."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from helpers.alloys import silent
from helpers.molecules import TEXT, options, read
from pydantic import ValidationError

from ensemble_mtl.config import file as config_file
from ensemble_mtl.core.errors import ConfigError, DataError
from ensemble_mtl.data.sources import smiles, smiles_table


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
    source_data = read(tmp_path, text, on_error="skip")
    assert len(source_data.graphs) == 4
    assert len(source_data.skipped) == 1
    assert source_data.skipped[0].startswith(f"molecules.csv{expected}")


def test_many_faults_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = "smiles,gap\n" + "".join(f"{'C(' if k % 2 else 'C'},{'x' if k % 2 == 0 else 1}\n" for k in range(9))
    with pytest.raises(DataError) as error:
        read(tmp_path, text, targets=["gap"])
    lines = str(error.value).splitlines()
    assert [line.split(":")[1] for line in lines[:5]] == ["2", "3", "4", "5", "6"]
    assert lines[5] == "… and 4 more malformed rows"
    with pytest.raises(DataError, match=r"all 9 rows are malformed: molecules\.csv:2"):
        read(tmp_path, text, targets=["gap"], on_error="skip")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"molecules\.csv:1: got an empty line, expected the names of the columns"),
        (
            b"smile,gap,charge\n",
            r"no such column: got 'smiles', expected one of smile, gap, charge; did you mean 'smile'\?",
        ),
        (b"smiles,gap\n", r"no such column: got 'charge', expected one of smiles, gap"),
        (b"smiles,gap,charge\n", "no row is left of 0"),
        (b"smiles,gap,charge\n\xff\xfe,1,1\n", r"not a text file \(invalid start byte at byte"),
        (b"\x1f\x8b\x08\x00broken", "damaged archive"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], "damaged archive"),
        (b'smiles,gap,charge\n"' + b"x" * 200_000, r"molecules\.csv:\d+: this is not CSV \(field larger than"),
        (
            b"smiles,gap,charge\n" + b"x" * (smiles_table.MAX_LINE + 1),
            r"molecules\.csv:2: the line is longer than 1048576 char",
        ),
        (gzip.compress(b" " * 50_000_000, mtime=0), r"molecules\.csv:1: the line is longer than 1048576 characters"),
    ],
)
def test_strange_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    file_options = options(tmp_path)
    file_options.path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        smiles.read(file_options, raw=tmp_path, progress=silent)


@pytest.mark.parametrize("path", ["gone.csv", "."])
def test_a_file_that_is_none_is_refused(tmp_path: Path, path: str) -> None:
    file_options = smiles.Options(path=tmp_path / path, targets=["gap"])
    with pytest.raises(DataError, match=r"there is no such file; correct data\.path"):
        smiles.read(file_options, raw=tmp_path, progress=silent)


def test_a_column_that_stands_twice_is_refused_unless_told(tmp_path: Path) -> None:
    text = "smiles,gap,other,gap\nC,1,5,1\nCC,2,6,2\n"
    with pytest.raises(DataError, match=r"got column 'gap' more than once, with the same values"):
        read(tmp_path, text, targets=["gap"])
    with pytest.raises(DataError, match=r"got column 'gap' more than once, with other values, .*duplicates: allow"):
        read(tmp_path, text.replace("6,2", "6,3"), targets=["gap"])
    source_data = read(tmp_path, text.replace("6,2", "6,3"), targets=["gap"], duplicates="allow")
    assert [graph.targets["gap"][0] for graph in source_data.graphs] == [1.0, 2.0]
    # columns that nobody chose may do as they like, but are told of
    assert read(tmp_path, text, targets=["other"]).notes[-1] == "columns that stand more than once in the file: gap"
    with pytest.raises(DataError, match="got column 'gap' more than once"):
        read(tmp_path, text, targets=["other"], keep={"gap": "> 0"}, duplicates="allow")


@pytest.mark.parametrize(
    ("file_options", "message"),
    [
        ({"targets": []}, "at least 1"),
        ({"targets": {}}, "at least 1"),
        ({"targets": ["gap", "gap"]}, "expected each column once, got gap more than once"),
        ({"targets": "gap"}, "expected a list of columns, or a mapping"),
        ({"targets": {"gap": 3}}, "valid string"),
        ({"hydrogens": "some"}, "valid boolean"),
        ({"column": "smiles"}, "Extra inputs"),
    ],
)
def test_malformed_options_are_refused(tmp_path: Path, file_options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        options(tmp_path, **file_options)


STUDY = """\
name: small
data: {name: smiles, path: molecules.csv, targets: [gap, charge]}
graph: {bonds: [single]}
model: {trunk: {conv: cgcnn}}
tasks: {G: {target: gap}}
"""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tasks.G.target=gaps", "tasks.G.target: got 'gaps', expected one of gap, charge; did you mean 'gap'?"),
        ("graph.radius=3", "graph.radius: data 'smiles' gives the bonds itself, so no neighbours are searched; leave"),
        ("graph.periodic=true", "graph.periodic: data 'smiles' gives the bonds itself"),
        ("model.edge_basis=8", "model.edge_basis: data 'smiles' gives bonds without lengths; leave it out, and set"),
        (
            "model.trunk.conv=gin",
            "graph.bonds: conv 'gin' has no use for features of edges; use one of cgcnn, gatv2, pna, or",
        ),
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
