"""Weights from curvature: a task whose loss is flat in the shared parameters gets more of it.

w_t ∝ |c_t|^(−power), summing to the number of tasks. c_t is the exponentially running mean, sign kept, of estimates
of the trace or of the eigenvalue of largest magnitude of the task's Hessian with respect to the shared parameters,
heads held fixed, batch norm in evaluation mode, on a fixed set of training graphs. Until the first estimate, which
comes after the first epoch at the earliest since running statistics mean nothing before, the weights are 1.

Cost of one estimate, in gradients of the loss on ``graphs`` graphs, measured with three tasks on one core: ``trace``
1.1 to 1.5 per vector and 2 more, for all tasks together; ``eigenvalue`` 1.2 to 1.8 per step and 1 more, for each task.
What it took is in ``metrics.jsonl`` (``weighting_seconds``), and part of every training time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from ensemble_mtl.config import registry
from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.core.runtime.rounding import elementwise
from ensemble_mtl.train.weighting.scaling import normalised, row_sums

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

FLOOR = 1e-3
"""Least |c_t|, relative to the largest of the member's tasks: a trace that passes through 0 is not infinitely flat."""


class Options(registry.Options):
    """What is estimated, how well, and what is made of it.

    Attributes:
        of: ``trace``, by Hutchinson's estimator, or ``eigenvalue``, the largest in magnitude, by Lanczos.
        power: 1 for inverse curvature; the smaller, the more equal the weights.
        every: epochs between estimates.
        products: random vectors of the trace, or steps of Lanczos.
        graphs: size of the set of training graphs.
        decay: of the running mean; 0 takes each estimate as it comes.
    """

    name: Literal["curvature"] = "curvature"
    of: Literal["trace", "eigenvalue"] = "trace"
    power: PositiveFloat = 1.0
    every: PositiveInt = 1
    products: PositiveInt = 4
    graphs: PositiveInt = 32
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9


def start(config: Any, num_members: int, num_tasks: int) -> dict[str, Tensor]:
    """Running means ``[M, T]``; NaN before there are any."""
    return {"curvature": torch.full((num_members, num_tasks), float("nan"), dtype=torch.float64)}


def weights(config: Any, state: dict[str, Tensor], given: Tensor) -> Tensor:
    """``[M, T]``, summing to the number of tasks that the member learns."""
    learned = given > 0
    known = learned & state["curvature"].isfinite()
    size = torch.where(known, state["curvature"].abs(), 0.0)
    size = size.maximum(FLOOR * size.amax(1, keepdim=True))
    # a task of unknown curvature counts as one in the middle of the others
    logarithm = torch.where(known & (size > 0), elementwise(torch.log, size), 0.0)
    middle = elementwise(torch.exp, row_sums(logarithm) / known.sum(1, keepdim=True).clamp(min=1))
    size = torch.where(known & (size > 0), size, middle)
    return normalised(elementwise(lambda x: x.pow(-config.weighting.power), size), learned)


def due(config: Any, epoch: int) -> bool:
    """Whether there is an estimate before ``epoch``, counted from 0."""
    return epoch > 0 and (epoch - 1) % config.weighting.every == 0


def observe(config: Any, state: dict[str, Tensor], curvature: Tensor) -> None:
    """Take an estimate ``[M, T]`` into the running means; one that is not finite says nothing."""
    mean, decay = state["curvature"], config.weighting.decay
    moved = torch.where(mean.isnan(), curvature, decay * mean + (1 - decay) * curvature)
    state["curvature"] = torch.where(curvature.isfinite(), moved, mean)
