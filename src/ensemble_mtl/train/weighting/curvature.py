"""Weights from curvature: a task whose loss is flat in the shared parameters gets more of it.

The weights are w_t ∝ |c_t|^(−power), and sum to the number of tasks. c_t is the exponentially running mean, with its
sign, of estimates of the trace of the task's Hessian, or of the Hessian's eigenvalue of largest magnitude. The Hessian
is taken with respect to the shared parameters, with the heads held fixed and batch norm in evaluation mode, on a fixed
set of training graphs. The weights are 1 until the first estimate. It comes after the first epoch at the earliest,
since running statistics mean nothing before.

The cost of one estimate, in gradients of the loss on ``graphs`` graphs, was measured with three tasks on one core.
``trace`` takes 1.1 to 1.5 per vector and 2 more, for all tasks together; ``eigenvalue`` takes 1.2 to 1.8 per step and
1 more, for each task. The time that estimates take is part of every training time, and stands in ``metrics.jsonl``
(``weighting_seconds``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.core.runtime.rounding import elementwise
from ensemble_mtl.train.weighting.scaling import normalised, row_sums

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

FLOOR = 1e-3
"""Smallest |c_t| that is used, relative to the largest of the member's tasks: where a trace passes through 0, the loss
is not infinitely flat."""


class Options(registry.Options):
    """Options of the estimates, and of the weights that are made of them.

    Attributes:
        of: ``trace``, by Hutchinson's estimator, or ``eigenvalue``, the largest in magnitude, by Lanczos.
        power: 1 for inverse curvature; a smaller one makes the weights more equal.
        every: epochs between estimates.
        products: number of random vectors for the trace, or of Lanczos steps for the eigenvalue.
        graphs: number of training graphs that the Hessian is taken on.
        decay: share of the running mean that each new estimate leaves of it; with 0 the mean is the last estimate.
    """

    name: Literal["curvature"] = "curvature"
    of: Literal["trace", "eigenvalue"] = "trace"
    power: PositiveFloat = 1.0
    every: PositiveInt = 1
    products: PositiveInt = 4
    graphs: PositiveInt = 32
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9


def start(config: TrainConfig, num_members: int, num_tasks: int) -> dict[str, Tensor]:
    """Return the state of untrained members: running means ``[M, T]``, NaN before the first estimate."""
    return {"curvature": torch.full((num_members, num_tasks), float("nan"), dtype=torch.float64)}


def weights(config: TrainConfig, state: dict[str, Tensor], configured: Tensor) -> Tensor:
    """Return weights ``[M, T]`` that sum to the number of tasks that the member learns."""
    learned = configured > 0
    estimated = learned & state["curvature"].isfinite()
    magnitude = torch.where(estimated, state["curvature"].abs(), 0.0)
    magnitude = magnitude.maximum(FLOOR * magnitude.amax(1, keepdim=True))
    # a task without an estimate counts as one whose curvature is the geometric mean of the other tasks'
    logarithm = torch.where(estimated & (magnitude > 0), elementwise(torch.log, magnitude), 0.0)
    geometric_mean = elementwise(torch.exp, row_sums(logarithm) / estimated.sum(1, keepdim=True).clamp(min=1))
    magnitude = torch.where(estimated & (magnitude > 0), magnitude, geometric_mean)
    return normalised(elementwise(lambda x: x.pow(-config.weighting.power), magnitude), learned)


def due(config: TrainConfig, epoch: int) -> bool:
    """Return whether curvature is estimated before ``epoch``, counted from 0."""
    return epoch > 0 and (epoch - 1) % config.weighting.every == 0


def observe(config: TrainConfig, state: dict[str, Tensor], curvature: Tensor) -> None:
    """Take the estimate ``curvature [M, T]`` into the running means; entries that are not finite are left out."""
    mean, decay = state["curvature"], config.weighting.decay
    updated = torch.where(mean.isnan(), curvature, decay * mean + (1 - decay) * curvature)
    state["curvature"] = torch.where(curvature.isfinite(), updated, mean)
