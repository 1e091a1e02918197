"""A constant learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


class Options(registry.Options):
    """The constant schedule has no options."""

    name: Literal["constant"] = "constant"


def start(options: Options, num_members: int) -> dict[str, Tensor]:
    """Return the state of untrained members: a factor of 1 ``[M]``."""
    return {"factor": torch.ones(num_members, dtype=torch.float64)}


def step(options: Options, state: dict[str, Tensor], epoch: int, epochs: int, val_loss: Tensor) -> None:
    """Leave the factor as it is."""
