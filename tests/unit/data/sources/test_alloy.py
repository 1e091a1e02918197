from pathlib import Path

import numpy as np
import pytest
from helpers.alloys import data, silent
from pydantic import ValidationError

from ensemble_mtl.data.sources import alloy, alloy_model

MODEL = alloy_model.Hamiltonian()
SITES = alloy_model.lattice((2, 2, 2), 5.218, 7.058)


def solve(kinds: np.ndarray) -> alloy_model.Solution:
    return alloy_model.solve(SITES, kinds, MODEL)


def test_shells_of_the_lattice() -> None:
    assert SITES.radii == pytest.approx([5.10564, 5.218, 7.058], abs=1e-5)
    assert np.array_equal(SITES.adjacency.sum(axis=2), np.repeat([[8.0], [4.0], [2.0]], 16, axis=1))
    assert np.array_equal(SITES.adjacency, SITES.adjacency.transpose(0, 2, 1))


def test_cells_are_neutral_and_pure_ones_uncharged() -> None:
    kinds = np.random.default_rng(0).integers(0, 2, (50, 16))
    assert np.abs(solve(kinds).transfer.sum(axis=1)).max() < 1e-12
    assert not solve(np.zeros((1, 16), dtype=int)).transfer.any()


def test_targets_follow_a_translation_of_the_lattice() -> None:
    kinds = np.random.default_rng(1).integers(0, 2, (1, 16))
    target = (SITES.positions + np.array([5.218, 0, 0])) % SITES.lengths
    image = np.array([np.linalg.norm(SITES.positions - place, axis=1).argmin() for place in target])
    moved = np.empty_like(kinds)
    moved[:, image] = kinds
    assert solve(moved).energy == pytest.approx(solve(kinds).energy, rel=1e-14)
    assert solve(moved).moment[:, image] == pytest.approx(solve(kinds).moment, abs=1e-12)


def test_neighbours_beyond_the_first_shells_matter() -> None:
    kinds = np.zeros((2, 16), dtype=int)
    kinds[:, 0] = 1
    far = int(np.flatnonzero(SITES.adjacency[:, 0].sum(axis=0) == 0)[-1])
    kinds[1, far] = 1
    first, second = solve(kinds).moment
    assert abs(first[0] - second[0]) > 1e-6  # no shell of site 0 holds the changed site


def test_a_supercell_smaller_than_a_shell_counts_images() -> None:
    small = alloy_model.lattice((1, 1, 1), 5.218, 7.058)
    assert np.array_equal(small.adjacency.sum(axis=2), np.repeat([[8.0], [4.0], [2.0]], 2, axis=1))
    energy = alloy_model.solve(small, np.array([[0, 1]]), MODEL).energy * 8
    same = np.tile([0, 1], 8)[None]
    assert energy == pytest.approx(solve(same).energy, rel=1e-14)


def test_arrangements_are_distinct_spread_and_led_by_the_pure_ones() -> None:
    kinds = alloy.arrangements(alloy.Options())
    assert kinds.shape == (400, 16)
    assert len(np.unique(kinds, axis=0)) == 400
    assert list(kinds[:2].sum(axis=1)) == [0, 16]
    assert (np.bincount(kinds.sum(axis=1))[1:16] >= 8).all()
    three = alloy.Options.model_validate(
        {
            "elements": ["Fe", "Pt", "Co"],
            "hamiltonian": {
                "electronegativity": [1.8, 2.3, 1.9],
                "bare_moment": [2.2, 0, 1.6],
                "susceptibility": [0, 0.1, 0],
                "energy": [-1, -2, -3],
            },
        }
    )
    assert set(np.unique(alloy.arrangements(three))) == {0, 1, 2}


def test_files_are_written_once_and_again_when_options_change(tmp_path: Path) -> None:
    first = data(tmp_path)
    file = tmp_path / "alloy" / "out_7"
    before = file.stat().st_mtime_ns
    data(tmp_path)
    assert file.stat().st_mtime_ns == before
    file.unlink()
    assert len(data(tmp_path).graphs) == 60
    reseeded = data(tmp_path, seed=1)
    assert not np.array_equal(reseeded.graphs[7].atomic_numbers, first.graphs[7].atomic_numbers)
    assert [entry.name for entry in tmp_path.iterdir()] == ["alloy"]


def test_the_same_options_give_the_same_bytes(tmp_path: Path) -> None:
    data(tmp_path / "a")
    data(tmp_path / "b")
    for k in range(60):
        assert (tmp_path / f"a/alloy/out_{k}").read_bytes() == (tmp_path / f"b/alloy/out_{k}").read_bytes()


def test_read_numbers_are_the_models(tmp_path: Path) -> None:
    source_data = data(tmp_path)
    options = alloy.Options(num_configurations=60)
    solution = solve(alloy.arrangements(options))
    assert source_data.synthetic
    assert "synthetic" in source_data.notes[0]
    for g, graph in enumerate(source_data.graphs):
        assert graph.targets["total_energy"][0] == solution.energy[g]
        assert graph.targets["charge_transfer"] == pytest.approx(solution.transfer[g], abs=1e-6)
        assert graph.targets["magnetic_moment"] == pytest.approx(solution.moment[g], abs=1e-6)


def test_the_line_format_is_that_of_lsms(tmp_path: Path) -> None:
    data(tmp_path)
    line = (tmp_path / "alloy/out_0").read_text().splitlines()[2]
    zero, unit = f"{0:21.15f}", f"{1:21.15f}"
    x = y = f"{2.609:21.15f}"
    vectors = [f"{zero}  {zero}  {end}" for end in (unit, zero, unit)]
    expected = f" 26        1  {x}  {y}  {3.529:21.15f}  {26:12.6f} "
    assert line.startswith(expected)
    assert line.endswith(f"  {vectors[0]}   -1.00  {vectors[1]}    0.0000  {vectors[2]}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"elements": ["Fe", "Xx"]}, "expected a chemical symbol"),
        ({"elements": ["Fe", "Fe"]}, "expected each once"),
        ({"elements": ["Fe", "Pt", "Co"]}, "expected one for each of 3"),
        ({"supercell": [1, 1, 1]}, "half of all arrangements of 2 atoms"),
        ({"hamiltonian": {"bare_moment": [0, 0]}}, "give one element a moment"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        alloy.Options.model_validate(options)


def test_progress_is_reported(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        silent(done, total)
        calls.append((done, total))

    alloy.read(alloy.Options(num_configurations=10), raw=tmp_path, progress=note)
    assert calls[-1] == (10, 10)
