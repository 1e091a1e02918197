"""Schedules are torch's, member by member."""

from __future__ import annotations

import warnings

import pytest
import torch
from helpers.tolerances import ROUNDING, close
from torch.optim import lr_scheduler

from ensemble_mtl.config import registry

EPOCHS, LR = 40, 0.1


def factors(name: str, losses: torch.Tensor, **options) -> torch.Tensor:
    """Return the factors of every epoch ``[EPOCHS + 1, M]``, for validation losses ``[EPOCHS, M]``."""
    module = registry.family("train.schedule").load(name)
    settings = module.Options(name=name, **options)
    state = module.start(settings, losses.shape[1])
    by_epoch = [state["factor"].clone()]
    for epoch in range(1, EPOCHS + 1):
        module.step(settings, state, epoch, EPOCHS, losses[epoch - 1])
        by_epoch.append(state["factor"].clone())
    return torch.stack(by_epoch)


def torch_factors(make, losses: torch.Tensor | None = None) -> torch.Tensor:
    """Return the factors of every epoch ``[EPOCHS + 1]`` by torch's schedule ``make(optimizer)``."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls its parts in a deprecated way
        schedule, by_epoch = make(optimizer), []
        for epoch in range(EPOCHS + 1):
            by_epoch.append(optimizer.param_groups[0]["lr"] / LR)
            optimizer.step()
            schedule.step(*([] if losses is None else [float(losses[min(epoch, EPOCHS - 1)])]))
    return torch.tensor(by_epoch, dtype=torch.float64)


def noisy_losses(members: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    trend = torch.linspace(1.0, 0.6, EPOCHS, dtype=torch.float64)[:, None]
    return trend + 0.2 * torch.rand(EPOCHS, members, generator=generator, dtype=torch.float64)


def test_constant_stays():
    assert (factors("constant", noisy_losses()) == 1).all()


@pytest.mark.parametrize("floor", [0.0, 0.05])
def test_cosine_is_torch_s(floor):
    expected = torch_factors(lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS, eta_min=floor * LR))
    close(factors("cosine", noisy_losses(1), floor=floor)[:, 0], expected, rtol=ROUNDING)


@pytest.mark.parametrize("after", [0, 7])
def test_exponential_is_torch_s_after_an_offset(after):
    def make(optimizer):
        decay = lr_scheduler.ExponentialLR(optimizer, 0.9)
        if not after:
            return decay
        wait = lr_scheduler.ConstantLR(optimizer, 1.0)
        return lr_scheduler.SequentialLR(optimizer, [wait, decay], [after])

    close(factors("exponential", noisy_losses(1), gamma=0.9, after=after)[:, 0], torch_factors(make), rtol=ROUNDING)


@pytest.mark.parametrize(("patience", "threshold", "floor"), [(1, 1e-4, 1e-3), (3, 0.05, 0.2), (2, 0.0, 0.0)])
def test_plateau_is_torch_s_for_each_member(patience, threshold, floor):
    losses = noisy_losses()
    options = {"factor": 0.5, "patience": patience, "threshold": threshold}
    actual = factors("plateau", losses, floor=floor, **options)
    for m in range(losses.shape[1]):
        expected = torch_factors(
            lambda o: lr_scheduler.ReduceLROnPlateau(o, min_lr=floor * LR, eps=0.0, **options), losses[:, m]
        )
        close(actual[:, m], expected, rtol=ROUNDING)
    assert not torch.equal(actual[:, 0], actual[:, 1])


@pytest.mark.parametrize("name", registry.names("train.schedule"))
def test_an_annealing_schedule_reaches_its_minimum_in_the_last_epoch_however_many_there_are(name):
    """The factors of other schedules do not depend on how many epochs are planned."""
    module = registry.family("train.schedule").load(name)
    options = module.Options(name=name)
    state, last_factors = module.start(options, 1), []
    for epochs in (5, 20):
        module.step(options, state, epochs, epochs, torch.ones(1, dtype=torch.float64))
        last_factors.append(float(state["factor"]))
    assert (max(last_factors) < ROUNDING) == getattr(module, "ANNEALS", False)


@pytest.mark.parametrize("name", registry.names("train.schedule"))
def test_state_has_a_factor_per_member_that_starts_at_one(name):
    module = registry.family("train.schedule").load(name)
    state = module.start(module.Options(name=name), 4)
    assert torch.equal(state["factor"], torch.ones(4, dtype=torch.float64))
    assert all(len(value) == 4 for value in state.values())
