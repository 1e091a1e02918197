"""Exponential decay per epoch, from a chosen epoch on (New 2022: 0.997 after 256)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ensemble_mtl.config import registry
from ensemble_mtl.train.schedule import constant

if TYPE_CHECKING:
    from torch import Tensor


class Options(registry.Options):
    """The learning rate is multiplied by ``gamma`` after each epoch.

    Attributes:
        gamma: factor of each epoch.
        after: epochs at the full learning rate before the decay begins.
    """

    name: Literal["exponential"] = "exponential"
    gamma: float = Field(0.99, gt=0, le=1)
    after: int = Field(0, ge=0)


def start(options: Options, num_members: int) -> dict[str, Tensor]:
    """Return the state of untrained members: a factor of 1 ``[M]``."""
    return constant.start(constant.Options(), num_members)


def step(options: Options, state: dict[str, Tensor], epoch: int, epochs: int, val_loss: Tensor) -> None:
    """Set the factor of the next epoch, the same for all members."""
    state["factor"].fill_(options.gamma ** max(epoch - options.after, 0))
