"""Flat vectors and named tensors; initial values."""

from __future__ import annotations

import torch
from helpers.tolerances import ROUNDING, close

from ensemble_mtl.config.sections import ModelConfig
from ensemble_mtl.models.layout import Layout
from ensemble_mtl.models.spec import ModelSpec

CONFIG = ModelConfig(layers=2, width=5, heads=(4,))


def layout(*tasks: str) -> Layout:
    return Layout(ModelSpec(CONFIG, tasks).parameters())


def test_unflatten_gives_views_that_tile_the_vector():
    found = layout("H", "C")
    flat = torch.arange(2.0 * found.size).view(2, found.size)
    named = found.unflatten(flat)
    assert torch.equal(torch.cat([value.flatten(1) for value in named.values()], dim=1), flat)
    named["trunk.0.norm.bias"].fill_(-1.0)
    assert (flat == -1.0).sum() == 2 * 5


def test_heads_may_stand_in_a_matrix_of_their_own():
    found = layout("H", "C")
    flat = torch.arange(2.0 * found.size).view(2, found.size)
    apart = found.unflatten(flat[:, : found.num_shared], flat[:, found.num_shared :])
    whole = found.unflatten(flat)
    assert list(apart) == list(whole)
    assert all(torch.equal(apart[name], whole[name]) for name in whole)


def test_shared_parameters_come_first():
    found = layout("H", "C")
    names = list(found.specs)
    shared = [name.startswith("trunk.") for name in names]
    assert shared == sorted(shared, reverse=True)
    assert found.num_shared == sum(found.specs[name].size for name, own in zip(names, shared, strict=True) if own)
    assert ModelSpec(CONFIG, ("H", "C")).num_parameters() == {"total": found.size, "shared": found.num_shared}


def test_members_of_one_seed_start_from_one_trunk_whatever_their_subset():
    alone, together = layout("C"), layout("H", "C")
    first, second = (own.unflatten(own.initial([3], torch.float64)) for own in (alone, together))
    for name, value in first.items():
        assert torch.equal(value, second[name])


def test_a_member_s_start_depends_on_its_own_seed_alone():
    found = layout("H")
    stacked = found.initial([5, 1, 2], torch.float64)
    assert torch.equal(stacked[1:2], found.initial([1], torch.float64))
    assert not torch.equal(stacked[0], stacked[1])


def test_precisions_start_from_the_same_numbers():
    found = layout("H")
    close(found.initial([0], torch.float32).double(), found.initial([0], torch.float64), rtol=1e-6)  # rounded once


def test_uniform_draws_are_centred_and_fill_their_interval():
    found = layout("H")
    named = found.unflatten(found.initial(range(400), torch.float64))
    weight, bound = named["heads.H.0.weight"], found.specs["heads.H.0.weight"].value
    assert abs(float(weight.mean())) < 5 * bound / (3 * weight.numel()) ** 0.5
    close(weight.std(), torch.tensor(bound / 3**0.5, dtype=torch.float64), rtol=0.05)  # 8,000 draws
    assert float(weight.abs().max()) <= bound
    close(named["trunk.0.norm.weight"], torch.ones(400, 5, dtype=torch.float64), rtol=ROUNDING)
