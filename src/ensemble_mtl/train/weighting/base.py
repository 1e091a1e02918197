"""What every weighting offers: how the losses of several tasks become one gradient of a member.

A weighting either **weights the losses**, by ``weights``, or **combines the tasks' gradients**, by ``combiner``. It
learns from what it is shown by ``step``, ``epoch`` and ``observe``, of which it defines those that it needs. All that
it remembers is its state, which goes into checkpoints.

What happens to one member must not depend on any other, or a result would depend on the stack. Members of a single
task are not weighted here: they have the weight of the configuration. The validation loss, which early stopping
watches, has the weights of the configuration, too, so that it means the same under every weighting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import TrainConfig

if TYPE_CHECKING:
    from torch import Tensor

    Combiner = Callable[[Tensor, int], Tensor]
    """A function of one member's task gradients ``[T', P_shared]`` with respect to the shared parameters, T' ≥ 2, and
    of the seed of its random stream. It returns one gradient ``[P_shared]``."""


class Weighting(Protocol):
    """A module with one weighting, whose options are ``config.weighting``.

    ``state`` holds tensors whose first axis is the member; where there is a task axis, it is the second.
    """

    Options: type[registry.Options]

    def start(self, config: TrainConfig, num_members: int, num_tasks: int) -> dict[str, Tensor]:
        """Return the state of untrained members. A module that leaves this out has an empty state."""

    def weights(self, config: TrainConfig, state: dict[str, Tensor], configured: Tensor) -> Tensor:
        """Return the ``[M, T]`` weights of the next step; entries of tasks that a member does not learn are not used.

        A module that leaves this out has the weights of the configuration.

        Args:
            config: how members are trained.
            state: the weighting's state.
            configured: ``[M, T]`` task weights of the configuration, 0 for tasks that a member does not learn.
        """

    def combiner(self, config: TrainConfig) -> Combiner | None:
        """Return a function that combines the tasks' gradients with respect to the shared parameters.

        Each head still gets the gradient of its task. None says that the losses are weighted instead; so does a module
        that leaves this out.
        """

    def step(self, config: TrainConfig, state: dict[str, Tensor], losses: Tensor, labelled: Tensor, lr: Tensor) -> None:
        """Learn from a training step, by changing the tensors of ``state`` in place.

        They must stay the same tensors, since a recorded step goes on changing those that it was recorded with.

        Args:
            config: how members are trained.
            state: the weighting's state.
            losses: ``[M, T]`` task losses of the step.
            labelled: ``[T]`` bool, whether the batch had a label of each task.
            lr: ``[M]`` learning rates of the step.
        """

    def epoch(self, config: TrainConfig, state: dict[str, Tensor], losses: Tensor) -> None:
        """Learn from an epoch's mean training losses ``[M, T]`` float64, by setting entries of ``state``."""

    def due(self, config: TrainConfig, epoch: int) -> bool:
        """Return whether ``observe`` is called before ``epoch``, from 0. A module that leaves this out has False."""

    def observe(self, config: TrainConfig, state: dict[str, Tensor], curvature: Tensor) -> None:
        """Learn from the curvature of each task's loss ``[M, T]`` float64, by setting entries of ``state``."""


def start(config: TrainConfig, num_members: int, num_tasks: int) -> dict[str, Tensor]:
    """Return an empty state."""
    return {}


def weights(config: TrainConfig, state: dict[str, Tensor], configured: Tensor) -> Tensor:
    """Return the weights ``[M, T]`` of the configuration."""
    return configured


def combiner(config: TrainConfig) -> Combiner | None:
    """Return None, since the losses are weighted."""
    return None


def step(config: TrainConfig, state: dict[str, Tensor], losses: Tensor, labelled: Tensor, lr: Tensor) -> None:
    """Learn nothing from a step."""


def epoch(config: TrainConfig, state: dict[str, Tensor], losses: Tensor) -> None:
    """Learn nothing from an epoch."""


def due(config: TrainConfig, epoch: int) -> bool:
    """Return False, since curvature is not needed."""
    return False


def observe(config: TrainConfig, state: dict[str, Tensor], curvature: Tensor) -> None:
    """Learn nothing from curvature."""


FAMILY = registry.Family[Weighting](
    "train.weighting", Weighting,
    start=start, weights=weights, combiner=combiner, step=step, epoch=epoch, due=due, observe=observe,
)  # fmt: skip
