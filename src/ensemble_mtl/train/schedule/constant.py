"""The same learning rate throughout."""

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
    """No options."""

    name: Literal["constant"] = "constant"


def start(options: Options, num_members: int) -> dict[str, Tensor]:
    """Factor 1."""
    return {"factor": torch.ones(num_members, dtype=torch.float64)}


def step(options: Options, state: dict[str, Tensor], epoch: int, epochs: int, val_loss: Tensor) -> None:
    """Nothing changes."""
