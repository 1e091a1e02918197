import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from helpers.alloys import graphs
from helpers.stores import lattice_store
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ensemble_mtl.core.errors import DataError
from ensemble_mtl.data import symmetry
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.composition import compositions
from ensemble_mtl.data.graph import IntArray
from ensemble_mtl.data.split import composition, dealing, random
from ensemble_mtl.data.split.base import Split

Weights = tuple[int, int, int]
WAYS = pytest.mark.parametrize("way", [random, composition], ids=["random", "composition"])
GROUPS = pytest.mark.parametrize("group", ["none", "arrangement", "symmetry"])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> GraphStore:
    return graphs(tmp_path_factory.mktemp("raw"), num_configurations=300)


def draw(way: ModuleType, store: GraphStore, seed: int = 0, **options: object) -> Split:
    return way.split(store, way.Options(**options), seed)


@WAYS
@GROUPS
def test_parts_are_disjoint_and_complete(way: ModuleType, group: str, store: GraphStore) -> None:
    split = draw(way, store, group=group)
    assert sorted(np.concatenate(list(split.parts.values()))) == list(range(300))
    assert all(part.dtype == np.int64 for part in split.parts.values())
    assert len(split.train) == pytest.approx(210, abs=12)


@WAYS
@GROUPS
def test_the_seed_decides(way: ModuleType, group: str, store: GraphStore) -> None:
    first = draw(way, store, group=group).to_json()
    assert draw(way, store, group=group).to_json() == first
    assert draw(way, store, 1, group=group).to_json() != first
    assert draw(way, store, -1, group=group).to_json() != draw(way, store, 1, group=group).to_json()


@WAYS
def test_groups_stay_whole(way: ModuleType, store: GraphStore) -> None:
    keys = symmetry.symmetry_keys(store)
    assert len(np.unique(keys)) < 300
    parts = draw(way, store, group="symmetry").parts
    keys_of_parts = [set(keys[part].tolist()) for part in parts.values()]
    assert not keys_of_parts[0] & keys_of_parts[1]
    assert not keys_of_parts[0] & keys_of_parts[2]
    assert not keys_of_parts[1] & keys_of_parts[2]


def test_each_composition_is_split_on_its_own(store: GraphStore) -> None:
    split = draw(composition, store)
    for members in compositions(store).members():
        counts = [int(np.isin(part, members).sum()) for part in split.parts.values()]
        # what the two lone ones take is made up for by all others; a count may be rounded down or up
        exact = len(members) * np.array([210 - 2, 45, 45]) / 298
        assert len(members) == 1 or (np.abs(counts - exact) < 1).all()
    assert [len(part) for part in split.parts.values()] == [210, 45, 45]


def test_a_lone_configuration_goes_to_train(store: GraphStore) -> None:
    alone = [members[0] for members in compositions(store).members() if len(members) == 1]
    assert len(alone) == 2  # the pure elements
    for seed in range(5):
        assert set(alone) <= set(draw(composition, store, seed).train)


def test_train_is_shuffled(store: GraphStore) -> None:
    train = draw(composition, store).train
    assert abs(np.corrcoef(train, np.arange(len(train)))[0, 1]) < 0.3


def test_json_round_trip(store: GraphStore) -> None:
    split = draw(random, store)
    again = Split.from_json(json.loads(json.dumps(split.to_json())))
    assert all(np.array_equal(again.parts[name], part) for name, part in split.parts.items())


@pytest.mark.parametrize(
    "value", [{}, {"train": [0], "val": [0], "test": [1]}, {"train": "x", "val": [], "test": []}, []]
)
def test_json_that_is_no_split_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="not a split"):
        Split.from_json(value)


def dealer(fractions: Sequence[float] = (0.7, 0.15, 0.15), seed: int = 0) -> dealing.Dealer:
    return dealing.Dealer(fractions, dealing.random_stream(seed))


def counted(part: IntArray) -> list[int]:
    return np.bincount(part, minlength=3).tolist()


@given(st.integers(0, 5000), st.lists(st.integers(1, 100), min_size=3, max_size=3))
def test_quotas_are_the_nearest_whole_numbers(num: int, weights: list[int]) -> None:
    fractions = np.array(weights) / sum(weights)
    quota = dealer(fractions).quotas(num)
    assert quota.sum() == num
    assert (np.abs(quota - num * fractions) < 1 + 1e-6).all()


def test_quotas_are_exact_where_they_can_be() -> None:
    assert dealer().quotas(1).tolist() == [1, 0, 0]
    assert dealer().quotas(1000).tolist() == [700, 150, 150]
    assert dealer((0.6, 0.2, 0.2)).quotas(10).tolist() == [6, 2, 2]


@pytest.mark.parametrize(("num", "train"), [(3, 2), (9, 6), (23, 16)])
def test_ties_favour_neither_val_nor_test(num: int, train: int) -> None:
    sizes = [counted(dealer(seed=seed).deal(np.arange(num))) for seed in range(400)]
    assert {counts[0] for counts in sizes} == {train}
    more_val = sum(counts[1] > counts[2] for counts in sizes)
    assert more_val == pytest.approx(200, abs=50)  # five standard deviations
    assert all(abs(counts[1] - counts[2]) == 1 for counts in sizes)


WEIGHTS = st.tuples(st.integers(6, 12), st.integers(1, 3), st.integers(1, 3))
SIZES = st.lists(st.integers(1, 12), min_size=2, max_size=40)


@given(SIZES, WEIGHTS, st.integers(-3, 1000))
def test_many_small_compositions_meet_the_shares_together(sizes: list[int], weights: Weights, seed: int) -> None:
    fractions = np.array(weights) / sum(weights)
    store = composed(sizes)
    part = assigned(store, fractions, seed)
    assert np.array_equal(part, assigned(store, fractions, seed))
    alone = [members[0] for members in compositions(store).members() if len(members) == 1]
    assert (part[alone] == 0).all()
    for members in compositions(store).members():
        assert len(members) < 3 or 0 in part[members]
    total, shares = np.bincount(part, minlength=3), len(part) * fractions
    # lone ones, or those that the rule of one in train forces, may be more than train's share
    forced = len(alone) + sum(size >= 3 for size in sizes)
    assert forced > shares[0] or (np.abs(total - shares) < 1).all()


@given(SIZES, WEIGHTS, st.integers(0, 1000), st.integers(2, 5))
def test_groups_of_small_compositions_meet_the_shares_together(
    sizes: list[int], weights: Weights, seed: int, largest: int
) -> None:
    fractions = np.array(weights) / sum(weights)
    cards, owner = dealer(fractions, seed), np.random.default_rng(seed)
    total, num = np.zeros(3), 0
    for size in sizes:
        groups = np.repeat(np.arange(size + 1), owner.integers(1, largest + 1, size + 1))
        part = cards.deal(groups)
        assert all(len(set(part[groups == group])) == 1 for group in groups)
        assert size < 2 or 0 in part
        total, num = total + np.bincount(part, minlength=3), num + len(groups)
    assert (np.abs(total - num * fractions) <= largest).all()


def test_a_hundred_compositions_of_three_have_all_parts() -> None:
    part = assigned(composed([3] * 100), (0.7, 0.15, 0.15), 0)
    assert counted(part) == [210, 45, 45]
    assert all(0 in part[3 * k : 3 * k + 3] for k in range(100))


def test_at_least_one_of_three_is_in_train_even_of_a_small_share() -> None:
    part = assigned(composed([3] * 20), (0.1, 0.45, 0.45), 0)
    assert all(0 in part[3 * k : 3 * k + 3] for k in range(20))


def composed(sizes: Sequence[int]) -> GraphStore:
    """As many graphs of each composition as ``sizes`` says; composition k has k atoms of Pt and the rest Fe."""
    num_atoms = len(sizes)
    platinum = np.repeat(np.arange(num_atoms), sizes)
    lattices = lattice_store(len(platinum))
    numbers = np.where(np.arange(num_atoms) < platinum[:, None], 78, 26).astype(np.int16)
    return dataclasses.replace(
        lattices, node_ptr=num_atoms * np.arange(len(platinum) + 1), atomic_numbers=numbers.ravel()
    )


def assigned(store: GraphStore, fractions: Sequence[float], seed: int) -> IntArray:
    """Part of each graph, none of them left out; parts may be empty, which a split may not."""
    options = composition.Options(fractions=tuple(fractions))
    part = composition.parts(store, options, dealing.random_stream(seed))
    assert part.shape == (len(store),)
    assert set(part.tolist()) <= {0, 1, 2}
    return part


def test_an_empty_part_is_refused(tmp_path: Path) -> None:
    small = graphs(tmp_path, num_configurations=4)
    with pytest.raises(DataError, match=r"the val part is empty, with 4 graphs .*use more graphs"):
        draw(composition, small)
    with pytest.raises(DataError, match="part is empty"):
        draw(random, small, fractions=(0.98, 0.01, 0.01))


@pytest.mark.parametrize("fractions", [(0.7, 0.2, 0.2), (1.0, 0.0, 0.0), (0.5, 0.5)])
def test_shares_must_sum_to_one(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        random.Options.model_validate({"fractions": fractions})


def test_symmetry_groups_need_a_cell(store: GraphStore, tmp_path: Path) -> None:
    bare = dataclasses.replace(store.topologies, cells=np.full_like(store.topologies.cells, np.nan))
    with pytest.raises(DataError, match=r"set data\.cell"):
        draw(random, dataclasses.replace(store, topologies=bare), group="symmetry")
