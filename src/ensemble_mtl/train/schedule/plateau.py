"""A learning rate that is reduced where the validation loss no longer improves, for each member by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


class Options(registry.Options):
    """Options as those of torch's ReduceLROnPlateau in mode ``min``.

    Attributes:
        factor: multiplies the learning rate at each reduction.
        patience: how many epochs without improvement are tolerated; the next one brings a reduction.
        threshold: smallest relative improvement that counts.
        floor: smallest factor.
    """

    name: Literal["plateau"] = "plateau"
    factor: float = Field(0.5, gt=0, lt=1)
    patience: PositiveInt = 5
    threshold: NonNegativeFloat = 1e-4
    floor: float = Field(1e-3, ge=0, lt=1)


def start(options: Options, num_members: int) -> dict[str, Tensor]:
    """Return the state of untrained members: a factor of 1, no best loss yet, no epoch waited; all ``[M]``."""
    ones = torch.ones(num_members, dtype=torch.float64)
    return {"factor": ones, "best": ones * float("inf"), "waited": torch.zeros_like(ones)}


def step(options: Options, state: dict[str, Tensor], epoch: int, epochs: int, val_loss: Tensor) -> None:
    """Compare ``val_loss [M]`` with each member's best so far, and reduce the factors whose patience has ended."""
    better = val_loss < state["best"] * (1 - options.threshold)
    state["best"] = torch.where(better, val_loss, state["best"])
    state["waited"] = torch.where(better, 0.0, state["waited"] + 1)
    reduce = state["waited"] > options.patience
    lower = (state["factor"] * options.factor).clamp(min=options.floor)
    state["factor"] = torch.where(reduce, lower, state["factor"])
    state["waited"] = torch.where(reduce, 0.0, state["waited"])
