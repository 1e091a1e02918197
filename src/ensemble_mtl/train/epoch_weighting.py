"""The weighting at work during an epoch: it makes one gradient per member of the tasks' losses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ensemble_mtl.models.layout import stream_seed
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.weighting.base import FAMILY

if TYPE_CHECKING:
    from ensemble_mtl.train.step import Problem


def observe(problem: Problem, state: StackState) -> float:
    """Hand an estimate of the curvature to the weighting, if it asks for one before the present epoch.

    Returns:
        the seconds that this took; 0 if nothing was due.

    Raises:
        ValueError: the problem has no function that estimates curvature.
    """
    weighting = FAMILY.of(problem.config.weighting)
    if not weighting.due(problem.config, state.epoch):
        return 0.0
    if problem.curvature is None:
        raise ValueError(
            f"weighting {problem.config.weighting.name}: expected a function in Problem.curvature, got None"
        )
    started = time.perf_counter()
    weighting_state = state.group("weighting")
    weighting.observe(problem.config, weighting_state, problem.curvature(problem, state))
    state.put("weighting", weighting_state)
    return time.perf_counter() - started


def current_weights(problem: Problem, state: StackState, configured: Tensor) -> Tensor | None:
    """Return the ``[M, T]`` weights of the next step; None where gradients are combined without weights.

    Arguments are those of :class:`EpochWeighting`.
    """
    combines = FAMILY.of(problem.config.weighting).combiner(problem.config) is not None
    return None if combines else EpochWeighting(problem, state, configured).weights()


class EpochWeighting:
    """The weighting of a stack during one epoch.

    Members of several tasks have the weights, or the combined gradient, of the configured weighting. A member of a
    single task has the configuration's weight of that task.

    Args:
        problem: model and data.
        state: M members; the weighting's state is taken from it and put back by :meth:`end`.
        configured: ``[M, T]`` task weights of the configuration, 0 for tasks that a member does not learn.
    """

    def __init__(self, problem: Problem, state: StackState, configured: Tensor) -> None:
        self._weighting = FAMILY.of(problem.config.weighting)
        self._problem, self._configured, self._state = problem, configured, state.group("weighting")
        self._is_multi_task = (configured > 0).sum(1, keepdim=True) > 1
        combine = self._weighting.combiner(problem.config)
        # any() makes the host wait for a GPU, so it is asked last
        self._combine = combine if combine and self._is_multi_task.any() else None
        self._stream, self._num_steps = (problem.stream, state.epoch), 0

    @property
    def combines(self) -> bool:
        """Whether the tasks' gradients are combined, instead of their losses being weighted."""
        return self._combine is not None

    def weights(self) -> Tensor:
        """Return the ``[M, T]`` weights of the next step; where gradients are combined, the configuration's."""
        weights = self._weighting.weights(self._problem.config, self._state, self._configured)
        learned = torch.where(self._configured > 0, weights.to(self._configured.dtype), 0.0)
        return torch.where(self._is_multi_task, learned, self._configured)

    def gradient(self, losses: Tensor, parameters: Tensor) -> Tensor:
        """Return the ``[M, P]`` gradient that the optimiser follows.

        Args:
            losses: ``[M, T]`` task losses, which depend on ``parameters``.
            parameters: ``[M, P]`` weights of the members.
        """
        if self._combine is None:
            (gradient,) = torch.autograd.grad((losses * self.weights()).sum(), parameters)
            return gradient
        last = losses.shape[1] - 1
        task_gradients = [
            torch.autograd.grad(loss.sum(), parameters, retain_graph=task < last)[0]
            for task, loss in enumerate(losses.unbind(1))
        ]
        return self._combined(torch.stack(task_gradients, dim=1))

    def _combined(self, jacobian: Tensor) -> Tensor:
        """Return one gradient per member, ``[M, P]``, from its tasks' gradients ``[M, T, P]``."""
        assert self._combine is not None  # noqa: S101 - for the type checker
        num_shared, gradients = self._problem.layout.num_shared, []
        seed = stream_seed("weighting", *self._stream, self._num_steps)
        for rows, task_weights in zip(jacobian, self._configured, strict=True):
            learned = rows[task_weights > 0]  # a copy: how memory is aligned must not depend on the stack
            if len(learned) == 1:
                gradients.append(task_weights[task_weights > 0] @ learned)
                continue
            trunk = self._combine(learned[:, :num_shared].contiguous(), seed)
            # a head occurs in the gradient of its own task alone, so the sum leaves it as it is
            gradients.append(torch.cat([trunk, learned[:, num_shared:].sum(0)]))
        return torch.stack(gradients)

    def step(self, losses: Tensor, labelled: Tensor, lr: Tensor) -> None:
        """Let the weighting learn from a training step.

        Args:
            losses: ``[M, T]`` task losses of the step.
            labelled: ``[T]`` bool, whether the batch had a label of each task.
            lr: ``[M]`` learning rates of the step.
        """
        self._num_steps += 1
        self._weighting.step(self._problem.config, self._state, losses, labelled, lr)

    def end(self, state: StackState, losses: Tensor) -> None:
        """Let the weighting learn from the epoch's mean losses ``[M, T]``, and put its state back into ``state``."""
        self._weighting.epoch(self._problem.config, self._state, losses)
        state.put("weighting", self._state)
