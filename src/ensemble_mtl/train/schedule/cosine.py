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
    """From the full learning rate to ``floor`` times it over all epochs.

    Attributes:
        floor: factor that the last epoch approaches.
    """

    name: Literal["cosine"] = "cosine"
    floor: float = Field(0.0, ge=0, le=1)


def start(options: Options, num_members: int) -> dict[str, Tensor]:
    """Factor 1."""
    return constant.start(constant.Options(), num_members)


def step(options: Options, state: dict[str, Tensor], epoch: int, epochs: int, val_loss: Tensor) -> None:
    """Factor of the next epoch."""
    wave = (1 + math.cos(math.pi * epoch / epochs)) / 2
    state["factor"].fill_(options.floor + (1 - options.floor) * wave)
