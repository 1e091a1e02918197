"""Weights from learned variances of the tasks' noise (Kendall et al. 2018, arXiv:1705.07115).

Each member minimises Σ exp(−s_t) L_t + s_t over its parameters and s, where s_t is the logarithm of the variance of
task t. This is twice the paper's loss for regression, so that the weights are 1 at the start, where s = 0. It costs
next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveFloat

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.core.runtime.rounding import elementwise
from ensemble_mtl.train.optimizer import base as optimizers

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")


class Options(registry.Options):
    """Options of the log-variances, which the optimiser of the parameters learns, without weight decay.

    Attributes:
        lr: learning rate of the log-variances; if left out, that of the parameters. The schedule multiplies both.
    """

    name: Literal["uncertainty"] = "uncertainty"
    lr: PositiveFloat | None = None


def start(config: TrainConfig, num_members: int, num_tasks: int) -> dict[str, Tensor]:
    """Return the state of untrained members: log-variances ``[M, T]`` of 0, and the optimiser's state for them."""
    zeros = torch.zeros(num_members, num_tasks, dtype=torch.float64)
    optimizer_state = optimizers.FAMILY.of(config.optimizer).start(zeros)
    return {"log_variance": zeros, **{f"optimizer.{name}": value for name, value in optimizer_state.items()}}


def weights(config: TrainConfig, state: dict[str, Tensor], configured: Tensor) -> Tensor:
    """Return the weights exp(−s) ``[M, T]``."""
    return elementwise(torch.exp, -state["log_variance"])


def step(config: TrainConfig, state: dict[str, Tensor], losses: Tensor, labelled: Tensor, lr: Tensor) -> None:
    """Do one step of the optimiser on s; a task without a label in the batch has the gradient 0."""
    optimizer = optimizers.FAMILY.of(config.optimizer)
    log_variance = state["log_variance"]
    # d/ds of exp(−s) L + s
    gradient = torch.where(labelled, 1 - elementwise(torch.exp, -log_variance) * losses.double(), 0.0)
    prefix = "optimizer."
    optimizer_state = {name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)}
    options = config.optimizer.model_copy(update={"weight_decay": 0.0})
    rate = lr if config.weighting.lr is None else lr * (config.weighting.lr / config.optimizer.lr)
    optimizer.step(options, log_variance, gradient, optimizer_state, rate)
    state.update({f"{prefix}{name}": value for name, value in optimizer_state.items()})
