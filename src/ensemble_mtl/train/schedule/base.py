"""What every learning-rate schedule offers: a factor on each member's learning rate, set anew after each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ensemble_mtl.config import registry

if TYPE_CHECKING:
    from torch import Tensor


class Schedule(Protocol):
    """A module with one schedule."""

    Options: type[registry.Options]
    ANNEALS: bool
    """Whether the learning rate reaches its minimum as the last epoch ends, so that members are expected to be best
    there. A module that leaves it out has False."""

    def start(self, options: Any, num_members: int) -> dict[str, Tensor]:
        """Return the state of untrained members, tensors ``[M]``; ``factor`` multiplies the learning rate."""

    def step(self, options: Any, state: dict[str, Tensor], epoch: int, epochs: int, val_loss: Tensor) -> None:
        """Set the entries of ``state`` for the next epoch.

        Args:
            options: the module's ``Options``.
            state: what ``start`` made.
            epoch: number of epochs trained so far, at least 1.
            epochs: number of epochs of the whole training.
            val_loss: ``[M]`` validation losses of the last epoch.
        """


FAMILY = registry.Family[Schedule]("train.schedule", Schedule, ANNEALS=False)
