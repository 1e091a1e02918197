"""Reduction where the validation loss no longer improves; each member has its own."""

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
    """As torch's ReduceLROnPlateau in mode ``min``.

    Attributes:
        factor: multiplies the learning rate at each reduction.
        patience: epochs without improvement that are let pass before a reduction.
        threshold: least relative improvement that counts.
        floor: smallest factor.
    """

    name: Literal["plateau"] = "plateau"
    factor: float = Field(0.5, gt=0, lt=1)
    patience: PositiveInt = 5
    threshold: NonNegativeFloat = 1e-4
    floor: float = Field(1e-3, ge=0, lt=1)


def start(options: Options, num_members: int) -> dict[str, Tensor]:
    """Factor 1, no best loss yet."""
    ones = torch.ones(num_members, dtype=torch.float64)
    return {"factor": ones, "best": ones * float("inf"), "waited": torch.zeros_like(ones)}


def step(options: Options, state: dict[str, Tensor], epoch: int, epochs: int, val_loss: Tensor) -> None:
    """Compare with the best loss so far, member by member."""
    better = val_loss < state["best"] * (1 - options.threshold)
    state["best"] = torch.where(better, val_loss, state["best"])
    state["waited"] = torch.where(better, 0.0, state["waited"] + 1)
    reduce = state["waited"] > options.patience
    lower = (state["factor"] * options.factor).clamp(min=options.floor)
    state["factor"] = torch.where(reduce, lower, state["factor"])
    state["waited"] = torch.where(reduce, 0.0, state["waited"])
