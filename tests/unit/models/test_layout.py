"""Flat vectors and named tensors; initial values."""

from __future__ import annotations

import torch
from helpers.tolerances import ROUNDING, close

from ensemble_mtl.config.sections import ModelConfig
from ensemble_mtl.models.layout import Layout
from ensemble_mtl.models.spec import ModelSpec

CONFIG = ModelConfig(trunk={"layers": 2, "width": 5}, heads=(4,))


def layout(*tasks: str) -> Layout:
    return Layout(ModelSpec(CONFIG, tasks).parameters())


def test_unflatten_gives_views_that_tile_the_vector():
    both = layout("H", "C")
    flat = torch.arange(2.0 * both.size).view(2, both.size)
    named = both.unflatten(flat)
    assert torch.equal(torch.cat([value.flatten(1) for value in named.values()], dim=1), flat)
    named["trunk.0.norm.bias"].fill_(-1.0)
    assert (flat == -1.0).sum() == 2 * 5


def test_heads_may_stand_in_another_matrix():
    both = layout("H", "C")
    flat = torch.arange(2.0 * both.size).view(2, both.size)
    from_two = both.unflatten(flat[:, : both.num_shared], flat[:, both.num_shared :])
    from_one = both.unflatten(flat)
    assert list(from_two) == list(from_one)
    assert all(torch.equal(from_two[name], from_one[name]) for name in from_one)


def test_shared_parameters_come_first():
    both = layout("H", "C")
    is_shared = [name.startswith("trunk.") for name in both.specs]
    assert is_shared == sorted(is_shared, reverse=True)
    assert both.num_shared == sum(spec.size for name, spec in both.specs.items() if name.startswith("trunk."))
    assert ModelSpec(CONFIG, ("H", "C")).num_parameters() == {"total": both.size, "shared": both.num_shared}


def test_members_of_one_seed_start_from_one_trunk_whatever_their_subset():
    alone, together = layout("C"), layout("H", "C")
    first, second = (subset.unflatten(subset.initial([3], torch.float64)) for subset in (alone, together))
    for name, value in first.items():
        assert torch.equal(value, second[name])


def test_a_member_s_start_depends_on_its_seed_alone():
    single = layout("H")
    stacked = single.initial([5, 1, 2], torch.float64)
    assert torch.equal(stacked[1:2], single.initial([1], torch.float64))
    assert not torch.equal(stacked[0], stacked[1])


def test_precisions_start_from_the_same_numbers():
    single = layout("H")
    close(single.initial([0], torch.float32).double(), single.initial([0], torch.float64), rtol=1e-6)  # rounded once


def test_uniform_draws_are_centred_and_fill_their_interval():
    single = layout("H")
    named = single.unflatten(single.initial(range(400), torch.float64))
    weight, bound = named["heads.H.0.weight"], single.specs["heads.H.0.weight"].value
    assert abs(float(weight.mean())) < 5 * bound / (3 * weight.numel()) ** 0.5
    close(weight.std(), torch.tensor(bound / 3**0.5, dtype=torch.float64), rtol=0.05)  # 8,000 draws
    assert float(weight.abs().max()) <= bound
    close(named["trunk.0.norm.weight"], torch.ones(400, 5, dtype=torch.float64), rtol=ROUNDING)
