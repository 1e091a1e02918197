"""Dynamic weight average (Liu et al. 2019, arXiv:1803.10704): more weight where the loss falls more slowly.

In epoch n the weights are K·softmax(r_t / temperature), where r_t is the task's mean training loss of epoch n − 1
over that of epoch n − 2, and K the number of tasks; in the first two epochs they are 1. It costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveFloat

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.core.runtime.rounding import elementwise
from ensemble_mtl.train.weighting.scaling import normalised

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


class Options(registry.Options):
    """Options of dynamic weight average.

    Attributes:
        temperature: temperature of the softmax; a larger one makes the weights more equal.
    """

    name: Literal["dwa"] = "dwa"
    temperature: PositiveFloat = 2.0


def start(config: TrainConfig, num_members: int, num_tasks: int) -> dict[str, Tensor]:
    """Return the state of untrained members: losses ``[M, T]`` of the last epoch and of the one before, both NaN."""
    no_losses = torch.full((num_members, num_tasks), float("nan"), dtype=torch.float64)
    return {"last": no_losses, "before": no_losses.clone()}


def weights(config: TrainConfig, state: dict[str, Tensor], configured: Tensor) -> Tensor:
    """Return weights ``[M, T]`` that sum to the number of tasks that the member learns."""
    learned = configured > 0
    ratio = state["last"] / state["before"]
    # the ratio is not finite before the third epoch, nor once a task's loss is 0
    exponent = torch.where(ratio.isfinite(), ratio, 1.0) / config.weighting.temperature
    # the largest exponent becomes 0, which changes no weight and keeps exp() from overflowing
    largest = torch.where(learned, exponent, -torch.inf).amax(1, keepdim=True)
    return normalised(elementwise(torch.exp, exponent - largest), learned)


def epoch(config: TrainConfig, state: dict[str, Tensor], losses: Tensor) -> None:
    """Remember the epoch's mean training losses ``[M, T]``."""
    state["before"], state["last"] = state["last"], losses.clone()
