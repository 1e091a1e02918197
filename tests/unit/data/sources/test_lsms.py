from pathlib import Path

import numpy as np
import pytest
from helpers.alloys import data
from helpers.lsms_files import equal, read
from pydantic import ValidationError

from ensemble_mtl.core.errors import DataError
from ensemble_mtl.core.units import BOHR_IN_ANGSTROM
from ensemble_mtl.data.sources import lsms, parallel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data(tmp_path, num_configurations=15)
    return tmp_path / "alloy"


def change(file: Path, line: int, old: str, new: str) -> None:
    lines = file.read_text().splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    file.write_text("".join(lines))


def test_numbers_and_units(folder: Path) -> None:
    source_data = read(folder, cell=[10.436, 10.436, 14.116])
    assert [graph.name for graph in source_data.graphs] == [f"out_{k}" for k in range(15)]  # out_2 before out_10
    graph = source_data.graphs[5]
    row = (folder / "out_5").read_text().splitlines()[4].split()
    assert graph.atomic_numbers[3] == int(row[0])
    assert graph.positions[3] == pytest.approx([float(x) * BOHR_IN_ANGSTROM for x in row[2:5]], rel=1e-15)
    assert graph.targets["charge"][3] == float(row[5])
    assert graph.targets["charge_transfer"][3] == float(row[5]) - int(row[0])
    assert graph.targets["magnetic_moment"][3] == float(row[6])
    assert np.diag(graph.cell) == pytest.approx(np.array([10.436, 10.436, 14.116]) * BOHR_IN_ANGSTROM)
    assert {info.name: info.unit for info in source_data.targets}["magnetic_moment"] == "μB"


def test_mixing_enthalpy_refers_to_the_pure_configurations(folder: Path) -> None:
    source_data = read(folder)
    energy = [graph.targets["total_energy"][0] for graph in source_data.graphs]
    iron = (source_data.graphs[7].atomic_numbers == 26).sum() / 16
    assert source_data.graphs[0].targets["mixing_enthalpy"][0] == 0.0
    assert source_data.graphs[1].targets["mixing_enthalpy"][0] == 0.0
    expected = energy[7] - iron * energy[0] - (1 - iron) * energy[1]
    assert source_data.graphs[7].targets["mixing_enthalpy"][0] == pytest.approx(expected, abs=1e-9)
    assert "from out_0" in source_data.notes[0]


def test_given_references_override(folder: Path) -> None:
    (folder / "out_0").unlink()
    with pytest.raises(DataError, match=r"no configuration of pure Fe .*data\.references: \{Fe"):
        read(folder)
    source_data = read(folder, references={"Fe": -2541.0})
    assert "-2541.0000000000 Ry/atom, as configured" in source_data.notes[0]
    with pytest.raises(ValidationError, match="expected a chemical symbol"):
        lsms.Options(path=folder, references={"Xx": 1.0})


def test_the_lowest_of_several_references_is_taken(folder: Path) -> None:
    text = (folder / "out_0").read_text()
    head, rest = text.split(" ", 1)
    (folder / "out_99").write_text(f"{float(head) - 1:.12f} {rest}")
    source_data = read(folder)
    assert "from out_99, the lowest of 2 pure configurations" in source_data.notes[0]
    assert source_data.graphs[0].targets["mixing_enthalpy"][0] == pytest.approx(1.0)


def test_parallel_reading_gives_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = read(folder, workers=1)
    monkeypatch.setattr(parallel, "SERIAL_FILES", 2)
    monkeypatch.setattr(parallel, "_CHUNK", 4)
    assert equal(read(folder, workers=2), alone)
    change(folder / "out_0", 3, "26 ", "Fe ")
    with pytest.raises(DataError, match=r"alloy:out_0:3: column 1 \(proton number\): got 'Fe'"):
        read(folder, workers=2)


FAULTS = {
    "missing column": (5, "0.000000\n", "\n", ":5: got 17 columns, expected 18"),
    "word": (3, "26 ", "Fe ", ":3: column 1 (proton number): got 'Fe', expected a finite number"),
    "nan": (1, ".", "nan.", ":1: column 1 (total energy): got"),
    "not an element": (2, "26 ", "0 ", ":2: column 1 (proton number): got 0, expected an integer of 1 to 118"),
    "fraction": (2, "26 ", "26.5 ", ":2: column 1 (proton number): got 26.5"),
    "index": (6, "   4  ", "   7  ", ":6: column 2 (site index): got 7, expected 4"),
    "infinite": (4, "26.000000", "inf", ":4: column 6 (charge): got 'inf'"),
    "underscore": (4, "26.000000", "2_6.0", ":4: column 6 (charge): got '2_6.0'"),
    "charge": (4, "26.000000", "27.000000", ": the charges of its 16 atoms differ from neutrality by 1 electrons"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_pinned_to_file_line_and_column(folder: Path, fault: str) -> None:
    line, old, new, expected = FAULTS[fault]
    text = (folder / "out_0").read_text().splitlines(keepends=True)
    if fault == "missing column":
        text[line - 1] = text[line - 1].rsplit(None, 1)[0] + "\n"
        (folder / "out_0").write_text("".join(text))
    else:
        change(folder / "out_0", line, old, new)
    with pytest.raises(DataError) as error:
        read(folder)
    assert f"alloy:out_0{expected}" in str(error.value)
    assert "on_error: skip" in str(error.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "out_3: empty file"),
        (b"\n1.0\n", "out_3:1: empty line"),
        (b"-1.5 2 3\n", "out_3:2: end of file"),
        (b"-1.5\n26 0 0 0\n", "out_3:2: got 4 columns, expected at least 7"),
        (b"\x89PNG\x00\xff\n\x00", "out_3:1: column 1 (total energy): got '\ufffdPNG"),
    ],
)
def test_strange_files_are_refused(folder: Path, content: bytes, expected: str) -> None:
    (folder / "out_3").write_bytes(content)
    with pytest.raises(DataError) as error:
        read(folder)
    assert expected in str(error.value)


def test_truncation_at_any_byte_is_found(folder: Path) -> None:
    content = (folder / "out_4").read_bytes()
    # the last line's digits and unused columns can lose characters without a trace
    for length in range(0, len(content) - 330, 97):
        (folder / "out_4").write_bytes(content[:length])
        with pytest.raises(DataError, match="out_4"):
            read(folder, atoms_per_cell=16)


def test_a_pure_file_cut_between_lines_is_found_without_knowing_the_number_of_atoms(folder: Path) -> None:
    lines = (folder / "out_0").read_text().splitlines(keepends=True)
    (folder / "out_0").write_text("".join(lines[:13]))  # what is left is neutral, since every site is
    with pytest.raises(DataError) as error:
        read(folder)
    assert "alloy:out_0:14: got 12 atoms, expected 16 as in 14 of 15 files" in str(error.value)
    assert "data.atoms_per_cell, or set data.mixed_cells: true" in str(error.value)


def test_a_cut_reference_is_never_used(folder: Path) -> None:
    whole = read(folder).graphs[7].targets["mixing_enthalpy"]
    lines = (folder / "out_0").read_text().splitlines(keepends=True)
    (folder / "out_99").write_text("".join(lines))
    (folder / "out_0").write_text("".join(lines[:13]))
    source_data = read(folder, on_error="skip")
    assert source_data.graphs[6].name == "out_7"
    assert np.array_equal(source_data.graphs[6].targets["mixing_enthalpy"], whole)


def test_the_larger_of_two_equally_common_sizes_is_the_whole_one(tmp_path: Path) -> None:
    for name, num_atoms in (("one", 1), ("two", 2)):
        atoms = "".join(f"26 {k} 0 0 {k} 26 0.5\n" for k in range(num_atoms))
        (tmp_path / name).write_text(f"{-1.5 * num_atoms}\n{atoms}")
    with pytest.raises(DataError, match="one:3: got 1 atoms, expected 2 as in 1 of 2 files"):
        read(tmp_path)
    mixed = read(tmp_path, mixed_cells=True)
    assert [len(graph.atomic_numbers) for graph in mixed.graphs] == [1, 2]
    assert [graph.targets["mixing_enthalpy"][0] for graph in mixed.graphs] == [0.0, 0.0]


def test_mixed_cells_and_a_number_of_atoms_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="exclude each other"):
        lsms.Options(path=tmp_path, mixed_cells=True, atoms_per_cell=16)


def test_skipping_lists_what_was_left_out(folder: Path) -> None:
    (folder / "out_4").write_bytes(b"")
    source_data = read(folder, on_error="skip")
    assert len(source_data.graphs) == 14
    assert source_data.skipped == [
        "alloy:out_4: empty file, expected energies and one line per atom; copy it again from its source"
    ]
    subfolder = folder / "sub"
    subfolder.mkdir()
    (folder / "out_4").rename(subfolder / "out_4")
    with pytest.raises(DataError, match="all 1 files are malformed"):
        read(subfolder, on_error="skip")


def test_seven_columns_and_a_lone_energy_are_enough(tmp_path: Path) -> None:
    for z, energy in ((26, -1.5), (78, -3.5)):
        (tmp_path / f"pure{z}").write_text(f"{energy}\n{z} 0 0 0 0 {z} 0.5\n\n")
    source_data = read(tmp_path)
    assert np.isnan(source_data.graphs[0].targets["fermi_energy"]).all()
    assert source_data.graphs[0].targets["total_energy"] == [-1.5]


def test_paths_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such file or folder; correct"):
        read(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no files"):
        read(tmp_path / "empty")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(DataError, match="damaged, or not a tar archive"):
        read(tmp_path / "text")


def test_degenerate_cells_are_refused(tmp_path: Path) -> None:
    for cell in ([1, 1, 0], [[1, 0, 0], [0, 1, 0], [1, 1, 0]]):
        with pytest.raises(ValidationError, match="three independent lattice vectors"):
            lsms.Options.model_validate({"path": tmp_path, "cell": cell})


def test_the_fingerprint_follows_the_files(folder: Path) -> None:
    options = lsms.Options(path=folder)
    before = lsms.fingerprint(options)
    (folder / "out_3").write_text("")
    assert lsms.fingerprint(options) != before
    assert lsms.fingerprint(lsms.Options(path=folder / "none")) is None
