"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeFloat, PositiveFloat

from ensemble_mtl.train.optimizer import adam
from ensemble_mtl.train.optimizer.base import OptimizerOptions

if TYPE_CHECKING:
    from torch import Tensor


class Options(OptimizerOptions):
    """AdamW's options, with optax's defaults (New 2022).

    Attributes:
        lr: learning rate, before the schedule's factor.
        betas: decay rates of the first and second moment.
        eps: added to the root of the second moment.
        weight_decay: fraction of the weights that a step subtracts, per unit of learning rate.
    """

    name: Literal["adamw"] = "adamw"
    lr: PositiveFloat = 1e-3
    betas: tuple[adam.Decay, adam.Decay] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 1e-4


start = adam.start


def step(options: Options, parameters: Tensor, gradient: Tensor, state: dict[str, Tensor], lr: Tensor) -> None:
    """Update ``parameters [M, P]`` and ``state`` in place; arguments are those of :func:`.adam.step`."""
    parameters.mul_((1 - lr * options.weight_decay).to(parameters.dtype)[:, None])
    adam.apply(options.betas, options.eps, parameters, gradient, state, lr)
