import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from alloys import graphs
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ensemble_mtl.data import symmetry
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.data.composition import compositions
from ensemble_mtl.data.split import _units, composition, random
from ensemble_mtl.data.split.base import Split
from ensemble_mtl.errors import DataError

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
    held = [set(keys[part].tolist()) for part in parts.values()]
    assert not held[0] & held[1]
    assert not held[0] & held[2]
    assert not held[1] & held[2]


def test_each_composition_is_split_on_its_own(store: GraphStore) -> None:
    split = draw(composition, store)
    for members in compositions(store).members():
        counts = [int(np.isin(part, members).sum()) for part in split.parts.values()]
        assert counts == _units.quotas(len(members), (0.7, 0.15, 0.15)).tolist()


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


@given(st.integers(0, 5000), st.lists(st.integers(1, 100), min_size=3, max_size=3))
def test_quotas_are_the_nearest_whole_numbers(num: int, weights: list[int]) -> None:
    fractions = np.array(weights) / sum(weights)
    quota = _units.quotas(num, fractions)
    assert quota.sum() == num
    assert (np.abs(quota - num * fractions) < 1 + 1e-6).all()


def test_quotas_prefer_train_in_a_tie() -> None:
    assert _units.quotas(1, (0.7, 0.15, 0.15)).tolist() == [1, 0, 0]
    assert _units.quotas(1000, (0.7, 0.15, 0.15)).tolist() == [700, 150, 150]
    assert _units.quotas(10, (0.6, 0.2, 0.2)).tolist() == [6, 2, 2]


def test_an_empty_part_is_refused(tmp_path: Path) -> None:
    few = graphs(tmp_path, num_configurations=4)
    with pytest.raises(DataError, match=r"the val part is empty, with 4 graphs .*use more graphs"):
        draw(composition, few)
    with pytest.raises(DataError, match="part is empty"):
        draw(random, few, fractions=(0.98, 0.01, 0.01))


@pytest.mark.parametrize("fractions", [(0.7, 0.2, 0.2), (1.0, 0.0, 0.0), (0.5, 0.5)])
def test_shares_must_sum_to_one(fractions: tuple[float, ...]) -> None:
    with pytest.raises(ValidationError):
        random.Options.model_validate({"fractions": fractions})


def test_symmetry_groups_need_a_cell(store: GraphStore, tmp_path: Path) -> None:
    import dataclasses

    bare = dataclasses.replace(store.topologies, cells=np.full_like(store.topologies.cells, np.nan))
    with pytest.raises(DataError, match=r"set data\.cell"):
        draw(random, dataclasses.replace(store, topologies=bare), group="symmetry")
