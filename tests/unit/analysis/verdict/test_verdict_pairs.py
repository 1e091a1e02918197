from __future__ import annotations

import math

import numpy as np
import pytest

from ensemble_mtl.analysis.verdict.pairs import design_of, grid, paired, scope_of


def product(splits: int, seeds: int) -> list[tuple[int, int]]:
    return [(split, seed) for split in range(splits) for seed in range(seeds)]


def zipped(repeats: int) -> list[tuple[int, int]]:
    return [(repeat, repeat) for repeat in range(repeats)]


def test_only_members_of_equal_split_and_seed_are_paired() -> None:
    pairs = paired({(0, 0): 2.0, (0, 1): 3.0, (1, 0): 5.0}, {(0, 0): 1.0, (1, 0): 10.0, (2, 2): 1.0}, [(3, 3)])
    assert pairs.log_ratios == pytest.approx({(0, 0): math.log(2), (1, 0): math.log(0.5)})
    assert pairs.dropped == ((0, 1), (2, 2), (3, 3))
    assert pairs.arithmetic == pytest.approx(7 / 11 - 1)
    assert (pairs.splits, pairs.seeds) == ((0, 1), (0,))


@pytest.mark.parametrize("error", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("side", ["multi", "single"])
def test_an_error_that_has_no_logarithm_is_dropped(error: float, side: str) -> None:
    errors = {"multi": {(0, 0): 1.0, (1, 1): 1.0}, "single": {(0, 0): 1.0, (1, 1): 1.0}}
    errors[side][1, 1] = error
    pairs = paired(errors["multi"], errors["single"])
    assert pairs.dropped == ((1, 1),)
    assert set(pairs.log_ratios) == {(0, 0)}


@pytest.mark.parametrize(
    ("keys", "shared", "design", "scope"),
    [
        (product(1, 12), False, "fixed splits", "this split"),
        (product(2, 6), False, "fixed splits", "these splits"),
        (product(4, 3), False, "fixed splits", "these splits"),
        (zipped(4), False, "fixed splits", "these splits"),
        (zipped(5), False, "across splits", "other random splits"),
        (zipped(12), False, "across splits", "other random splits"),
        (zipped(12), True, "across splits", "other random splits"),
        (product(6, 2), False, "across splits", "other random splits"),
        (product(12, 1), False, "across splits", "this initialisation"),
        (product(12, 1), True, "across splits", "this initialisation"),
        (product(8, 4), True, "crossed", "other random splits"),
        (product(2, 6), True, "crossed", "other random splits"),
        (product(1, 12), True, "fixed splits", "this split"),
    ],
)
def test_what_varies_follows_from_splits_and_seeds(
    keys: list[tuple[int, int]], shared: bool, design: str, scope: str
) -> None:
    assert design_of(keys, shared) == design
    assert scope_of(keys, shared) == scope


def test_the_grid_has_a_row_per_split_and_gaps_at_its_end() -> None:
    table = grid({(7, 3): 0.3, (2, 1): 0.1, (2, 5): 0.2}, "fixed splits")
    np.testing.assert_array_equal(table.values, [[0.1, 0.2], [0.3, np.nan]])
    assert table.keys == (((2, 1), (2, 5)), ((7, 3),))
    assert table.unused == ()


def test_a_crossed_grid_has_the_seeds_that_all_splits_share() -> None:
    table = grid({(0, 0): 1.0, (0, 1): 2.0, (0, 2): 3.0, (1, 0): 4.0, (1, 2): 5.0}, "crossed")
    np.testing.assert_array_equal(table.values, [[1.0, 3.0], [4.0, 5.0]])
    assert table.unused == ((0, 1),)


def test_no_pairs_make_an_empty_grid() -> None:
    assert grid({}, "fixed splits").values.shape == (0, 0)
    assert paired({}, {}).arithmetic is None
