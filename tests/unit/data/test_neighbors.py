import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ensemble_mtl.core.errors import DataError
from ensemble_mtl.core.units import BOHR_IN_ANGSTROM
from ensemble_mtl.data.neighbors import neighbor_list

LENGTHS = np.array([5.218, 5.218, 7.058]) * BOHR_IN_ANGSTROM


def fept_sites() -> tuple[np.ndarray, np.ndarray]:
    corners = np.array(list(itertools.product(range(4), range(2), range(2))), dtype=float)
    sites = (corners[:, None] + np.array([[0, 0, 0], [0.5, 0.5, 0.5]])).reshape(-1, 3)
    return sites * LENGTHS, np.diag(np.array([4, 2, 2]) * LENGTHS)


def brute_force(positions: np.ndarray, cell: np.ndarray | None, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """All pairs over all images, one pair after the other."""
    shifts = np.zeros((1, 3))
    if cell is not None:
        fractional = positions @ np.linalg.inv(cell)
        spread = np.ptp(fractional, axis=0)
        reach = np.ceil(radius * np.linalg.norm(np.linalg.inv(cell), axis=0) + spread).astype(int) + 1
        shifts = np.array(list(itertools.product(*(range(-k, k + 1) for k in reach)))) @ cell
    edges = []
    for i, j in itertools.product(range(len(positions)), repeat=2):
        lengths = np.linalg.norm(positions[j] - positions[i] + shifts, axis=1)
        near = lengths <= radius * (1 + 1e-9)
        if i == j:
            near &= shifts.any(axis=1)
        edges += [(i, j, length) for length in lengths[near]]
    edges.sort()
    index = np.array([[j, i] for i, j, _ in edges], dtype=np.int64).reshape(-1, 2).T
    return index, np.array([length for *_, length in edges])


@pytest.mark.parametrize(
    ("radius", "periodic", "edges", "distinct"),
    [
        (7 * BOHR_IN_ANGSTROM, False, 206, None),
        (7 * BOHR_IN_ANGSTROM, True, 384, None),
        (7.0, False, 714, None),
        (7.0, True, 2752, 31),
    ],
)
def test_counts_on_the_lattice_of_fept(radius: float, periodic: bool, edges: int, distinct: int | None) -> None:
    positions, cell = fept_sites()
    index, length = neighbor_list(positions, cell, radius, periodic)
    assert index.shape == (2, edges)
    expected, lengths = brute_force(positions, cell if periodic else None, radius)
    assert np.array_equal(index, expected)
    assert length == pytest.approx(lengths, rel=1e-12)
    if distinct:
        assert set(np.bincount(index[1])) == {86}
        assert {len(set(index[0, index[1] == i])) for i in range(32)} == {distinct}


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    num_atoms=st.integers(1, 5),
    radius=st.floats(0.3, 3.5),
    skew=st.floats(0, 2.5),
    periodic=st.booleans(),
)
def test_random_triclinic_cells_agree_with_brute_force(
    seed: int, num_atoms: int, radius: float, skew: float, periodic: bool
) -> None:
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(1.0, 2.0, 3)) + np.tril(rng.uniform(-skew, skew, (3, 3)), -1)
    cell = cell[rng.permutation(3)]
    positions = rng.uniform(-2, 3, (num_atoms, 3)) @ cell
    try:
        index, length = neighbor_list(positions, cell, radius, periodic)
    except DataError:
        return  # two random sites fell together
    expected, lengths = brute_force(positions, cell if periodic else None, radius)
    order = np.lexsort((expected[0], expected[1]))
    assert np.array_equal(index, expected[:, order])
    assert length == pytest.approx(lengths[order], rel=1e-9)


def test_a_lone_atom_sees_its_own_images() -> None:
    index, length = neighbor_list(np.zeros((1, 3)), np.eye(3) * 2, 2.0, True)
    assert np.array_equal(index, np.zeros((2, 6)))
    assert np.array_equal(length, np.full(6, 2.0))
    assert neighbor_list(np.zeros((1, 3)), None, 2.0, False)[0].shape == (2, 0)


def test_edges_come_in_both_directions_and_sorted() -> None:
    positions, cell = fept_sites()
    index, length = neighbor_list(positions + 100.0, cell, 7.0, True)
    keys = list(zip(index[1], index[0], length, strict=True))
    assert keys == sorted(keys)
    forward = sorted(zip(index[0], index[1], strict=True))
    assert forward == sorted(zip(index[1], index[0], strict=True))


def test_a_shell_on_the_radius_is_taken_whole() -> None:
    positions = np.array([[0.1, 0.2, 0.3]])
    for edge in (0.1 + 0.2, 1 / 3, 2.7):
        assert neighbor_list(positions, np.eye(3) * edge, edge, True)[0].shape == (2, 6)
        assert neighbor_list(positions, np.eye(3) * edge, edge * (1 - 1e-8), True)[0].shape == (2, 0)


def test_faulty_structures_are_refused() -> None:
    coincident = np.array([[0.0, 0, 0], [1, 1, 1], [0, 0, 0]])
    with pytest.raises(DataError, match="sites 2 and 0 are 0 Å apart"):
        neighbor_list(coincident, None, 1.0, False)
    with pytest.raises(DataError, match="apart"):  # one is an image of the other
        neighbor_list(coincident[:2], np.eye(3), 1.0, True)
    with pytest.raises(DataError, match=r"set data\.cell"):
        neighbor_list(coincident[:2], None, 1.0, True)
    with pytest.raises(DataError, match="linearly independent"):
        neighbor_list(coincident[:2], np.ones((3, 3)), 1.0, True)
    with pytest.raises(DataError, match="not finite"):
        neighbor_list(np.full((1, 3), np.nan), None, 1.0, False)
    with pytest.raises(DataError, match="periodic images of the sites; choose a smaller radius"):
        neighbor_list(np.zeros((1, 3)), np.eye(3), 1e4, True)
