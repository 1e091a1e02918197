"""What every optimiser offers: a state, and a step that updates all members of a stack.

What happens to one member must not depend on any other, or a result would depend on the stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from pydantic import NonNegativeFloat, PositiveFloat

from ensemble_mtl.config import registry

if TYPE_CHECKING:
    from torch import Tensor


class OptimizerOptions(registry.Options):
    """Options of every optimiser."""

    lr: PositiveFloat
    """Learning rate, before the schedule's factor."""
    weight_decay: NonNegativeFloat = 0.0
    """How strongly weights are drawn to 0; the optimiser says in which form."""


class Optimizer(Protocol):
    """A module with one optimiser."""

    Options: type[OptimizerOptions]

    def start(self, parameters: Tensor) -> dict[str, Tensor]:
        """Return the state of untrained ``parameters [M, P]``; each of its tensors leads with the member axis."""

    def step(self, options: Any, parameters: Tensor, gradient: Tensor, state: dict[str, Tensor], lr: Tensor) -> None:
        """Update ``parameters [M, P]`` and ``state`` in place.

        Args:
            options: the module's ``Options``.
            parameters: ``[M, P]`` weights, one member per row.
            gradient: ``[M, P]`` gradient of the loss.
            state: what ``start`` made.
            lr: ``[M]`` learning rates of this step.
        """


FAMILY = registry.Family[Optimizer]("train.optimizer", Optimizer)
