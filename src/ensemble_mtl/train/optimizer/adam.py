"""Adam (Kingma and Ba 2015, arXiv:1412.6980), with per-member state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from ensemble_mtl.core.lazy import lazy_import
from ensemble_mtl.train.optimizer.base import OptimizerOptions

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")

Decay = Annotated[float, Field(ge=0, lt=1)]
"""Decay rate of a moment. With 1 the moment would never move, and its bias correction would divide by 0."""


class Options(OptimizerOptions):
    """Adam's options, with torch's defaults.

    Attributes:
        lr: learning rate, before the schedule's factor.
        betas: decay rates of the first and second moment.
        eps: added to the root of the second moment.
        weight_decay: L2 penalty, added to the gradient.
    """

    name: Literal["adam"] = "adam"
    lr: PositiveFloat = 1e-3
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0


def start(parameters: Tensor) -> dict[str, Tensor]:
    """Return the state of untrained ``parameters [M, P]``: two moments ``[M, P]`` of zeros, and step counts ``[M]``."""
    steps = torch.zeros(len(parameters), dtype=torch.float64, device=parameters.device)
    return {"first": torch.zeros_like(parameters), "second": torch.zeros_like(parameters), "steps": steps}


def step(options: Options, parameters: Tensor, gradient: Tensor, state: dict[str, Tensor], lr: Tensor) -> None:
    """Update ``parameters [M, P]`` and ``state`` in place.

    Args:
        options: Adam's options.
        parameters: ``[M, P]`` weights, one member per row.
        gradient: ``[M, P]`` gradient of the loss.
        state: what :func:`start` made.
        lr: ``[M]`` learning rates of this step.
    """
    if options.weight_decay:
        gradient = gradient + options.weight_decay * parameters
    apply(options.betas, options.eps, parameters, gradient, state, lr)


def apply(
    betas: tuple[float, float], eps: float, parameters: Tensor, gradient: Tensor, state: dict[str, Tensor], lr: Tensor
) -> None:
    """Update ``parameters [M, P]`` and ``state`` by one bias-corrected step, without weight decay; AdamW shares it.

    Args:
        betas: decay rates of the first and second moment.
        eps: added to the root of the second moment.
        parameters: ``[M, P]`` weights, one member per row.
        gradient: ``[M, P]`` gradient of the loss.
        state: what :func:`start` made.
        lr: ``[M]`` learning rates of this step.
    """
    first, second, steps = state["first"], state["second"], state["steps"]
    steps += 1
    first.lerp_(gradient, 1 - betas[0])
    second.mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    # Moments start at 0, so early ones are too small by the factor 1 − βⁿ after n steps; both factors are divided out.
    step_size = (lr / (1 - betas[0] ** steps)).to(parameters.dtype)[:, None]
    second_correction = (1 - betas[1] ** steps).sqrt().to(parameters.dtype)[:, None]
    parameters.sub_(step_size * first / (second.sqrt() / second_correction + eps))
