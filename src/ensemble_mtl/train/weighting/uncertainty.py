"""Weights from learned variances of the tasks' noise (Kendall et al. 2018, arXiv:1705.07115).

Each member minimises Σ exp(−s_t) L_t + s_t over its weights and s, where s_t is the logarithm of the task's
variance: twice the loss of the paper for regression, so that at the start, s = 0, the weights are 1. It costs
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.core.runtime.rounding import elementwise

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


class Options(registry.Options):
    """How the variances are learned: by the optimiser of the weights, without decay.

    Attributes:
        lr: learning rate of s; that of the weights if left out. The schedule's factor is on both.
    """

    name: Literal["uncertainty"] = "uncertainty"
    lr: PositiveFloat | None = None


def start(config: Any, num_members: int, num_tasks: int) -> dict[str, Tensor]:
    """Log-variances 0 ``[M, T]``, and the optimiser's own state for them."""
    zeros = torch.zeros(num_members, num_tasks, dtype=torch.float64)
    moments = registry.load("train.optimizer", config.optimizer.name).start(zeros)
    return {"log_variance": zeros, **{f"optimizer.{name}": value for name, value in moments.items()}}


def weights(config: Any, state: dict[str, Tensor], given: Tensor) -> Tensor:
    """``[M, T]`` exp(−s)."""
    return elementwise(torch.exp, -state["log_variance"])


def step(config: Any, state: dict[str, Tensor], losses: Tensor, labelled: Tensor, lr: Tensor) -> None:
    """One step of the optimiser on s; a batch without a label of the task says nothing of its variance."""
    optimizer = registry.load("train.optimizer", config.optimizer.name)
    log_variance = state["log_variance"]
    gradient = torch.where(labelled, 1 - elementwise(torch.exp, -log_variance) * losses.double(), 0.0)
    own = {name: value for name, value in state.items() if name.startswith("optimizer.")}
    moments = {name.removeprefix("optimizer."): value for name, value in own.items()}
    options = config.optimizer.model_copy(update={"weight_decay": 0.0})
    rate = lr if config.weighting.lr is None else lr * (config.weighting.lr / config.optimizer.lr)
    optimizer.step(options, log_variance, gradient, moments, rate)
    state.update({f"optimizer.{name}": value for name, value in moments.items()})
