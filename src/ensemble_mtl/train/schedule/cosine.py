"""Cosine annealing without restarts (Loshchilov and Hutter 2017, arXiv:1608.03983)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ensemble_mtl.config import registry
from ensemble_mtl.train.schedule import constant

if TYPE_CHECKING:
    from torch import Tensor

ANNEALS = True


class Options(registry.Options):
    """The learning rate falls over all epochs, from its full value to ``floor`` times that.

    Attributes:
        floor: the factor at the end of the last epoch.
    """

    name: Literal["cosine"] = "cosine"
    floor: float = Field(0.0, ge=0, le=1)


def start(options: Options, num_members: int) -> dict[str, Tensor]:
    """Return the state of untrained members: a factor of 1 ``[M]``."""
    return constant.start(constant.Options(), num_members)


def step(options: Options, state: dict[str, Tensor], epoch: int, epochs: int, val_loss: Tensor) -> None:
    """Set the factor of the next epoch, the same for all members."""
    half_wave = (1 + math.cos(math.pi * epoch / epochs)) / 2  # from 1 to 0
    state["factor"].fill_(options.floor + (1 - options.floor) * half_wave)
