"""How members are divided into shards."""

from pathlib import Path

import pytest

from ensemble_mtl.config import file as config_file
from ensemble_mtl.launch.base import make_shards
from ensemble_mtl.study.plan import Member, members

CONFIG = Path(__file__).parents[3] / "configs/quickstart.yaml"


def planned(*overrides: str) -> list[Member]:
    return members(config_file.load(CONFIG, overrides))


@pytest.mark.parametrize(("largest", "workers"), [(12, 1), (12, 2), (12, 84), (5, 2), (1, 3), (1000, 2)])
def test_every_member_is_in_exactly_one_shard(largest: int, workers: int) -> None:
    shards = make_shards(planned(), largest, workers)
    found = [member.id for shard in shards for member in shard.members]
    assert sorted(found) == sorted(member.id for member in planned())
    assert max(len(shard.members) for shard in shards) <= largest


def test_a_shard_is_of_one_subset_split_and_fraction() -> None:
    for shard in make_shards(planned("split_seeds=[0, 1]", "fractions=[0.5, 1.0]"), 12, 2):
        assert len({(m.subset, m.split, m.fraction) for m in shard.members}) == 1


def test_a_shard_is_of_one_weighting() -> None:
    for shard in make_shards(planned("weightings=[fixed, dwa, uncertainty]"), 12, 2):
        assert len({m.weighting for m in shard.members}) == 1


def test_members_of_all_subsets_may_share_a_shard() -> None:
    (shard,) = make_shards(planned(), 84, 1, mixed=True)
    assert [member.id for member in shard.members] == [member.id for member in planned()]
    assert [len(shard.members) for shard in make_shards(planned(), 84, 2, mixed=True)] == [42, 42]
    assert [len(shard.members) for shard in make_shards(planned(), 12, 1)] == [12] * 7
    several = planned("split_seeds=[0, 1]", "fractions=[0.5, 1.0]", "weightings=[fixed, dwa]")
    shards = make_shards(several, 84, 2, mixed=True)
    assert sorted(m.id for shard in shards for m in shard.members) == sorted(m.id for m in several)
    assert any(len({m.subset for m in shard.members}) > 1 for shard in shards)
    for shard in shards:
        assert len({(m.weighting, m.split, m.fraction) for m in shard.members}) == 1


def test_the_longest_come_first() -> None:
    costs = [shard.cost for shard in make_shards(planned(), 12, 2)]
    assert costs == sorted(costs, reverse=True)


def test_pieces_of_a_subset_are_even() -> None:
    sizes = {len(shard.members) for shard in make_shards(planned(), 12, 4)}
    assert sizes == {6}


def test_a_larger_training_part_is_longer() -> None:
    shards = make_shards(planned("fractions=[0.1, 1.0]", "subsets=[[H]]"), 12, 2)
    assert [shard.members[0].fraction for shard in shards] == sorted(
        (shard.members[0].fraction for shard in shards), reverse=True
    )
