"""Dynamic weight average (Liu et al. 2019, arXiv:1803.10704): more weight where the loss falls more slowly.

In epoch n the weights are K·softmax(r_t / temperature), where r_t is the task's mean training loss of epoch n − 1
over that of epoch n − 2, and K the number of tasks; in the first two epochs they are 1. It costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.core.runtime.rounding import elementwise
from ensemble_mtl.train.weighting.scaling import normalised

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


class Options(registry.Options):
    """Of the softmax.

    Attributes:
        temperature: the larger, the more equal the weights.
    """

    name: Literal["dwa"] = "dwa"
    temperature: PositiveFloat = 2.0


def start(config: Any, num_members: int, num_tasks: int) -> dict[str, Tensor]:
    """Losses of the last epoch and of the one before it, both ``[M, T]``; NaN before there are any."""
    nothing = torch.full((num_members, num_tasks), float("nan"), dtype=torch.float64)
    return {"last": nothing, "before": nothing.clone()}


def weights(config: Any, state: dict[str, Tensor], given: Tensor) -> Tensor:
    """``[M, T]``, summing to the number of tasks that the member learns."""
    learned = given > 0
    ratio = state["last"] / state["before"]
    # no ratio yet, or one of a task that nothing is left to learn of
    exponent = torch.where(ratio.isfinite(), ratio, 1.0) / config.weighting.temperature
    largest = torch.where(learned, exponent, -torch.inf).amax(1, keepdim=True)
    return normalised(elementwise(torch.exp, exponent - largest), learned)


def epoch(config: Any, state: dict[str, Tensor], losses: Tensor) -> None:
    """Remember the epoch's mean training losses."""
    state["before"], state["last"] = state["last"], losses.clone()
