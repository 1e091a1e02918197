"""What the weighting makes of the tasks' losses: one gradient per member."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.models.layout import stream_seed
from ensemble_mtl.train.state import StackState

if TYPE_CHECKING:
    from ensemble_mtl.train.step import Problem


def observe(problem: Problem, state: StackState) -> float:
    """Let the weighting look at the curvature, if it wants to before the present epoch; the seconds it took.

    Raises:
        ValueError: the problem says nothing of curvature.
    """
    weighting = registry.load("train.weighting", problem.config.weighting.name)
    if not hasattr(weighting, "observe") or not weighting.due(problem.config, state.epoch):
        return 0.0
    if problem.curvature is None:
        raise ValueError(f"weighting {problem.config.weighting.name} needs Problem.curvature, got None")
    started = time.perf_counter()
    own = state.group("weighting")
    weighting.observe(problem.config, own, problem.curvature(problem, state))
    state.put("weighting", own)
    return time.perf_counter() - started


class Weighted:
    """The weighting of a stack during one epoch.

    Args:
        problem: model and data.
        state: M members; the weighting's own state is taken from it and put back by :meth:`end`.
        given: ``[M, T]`` the configuration's weights, 0 for tasks that a member does not learn.
    """

    def __init__(self, problem: Problem, state: StackState, given: Tensor) -> None:
        self._module = registry.load("train.weighting", problem.config.weighting.name)
        self._problem, self._given, self._own = problem, given, state.group("weighting")
        self._several = (given > 0).sum(1, keepdim=True) > 1
        combines = hasattr(self._module, "combiner") and bool(self._several.any())
        self._combine = self._module.combiner(problem.config) if combines else None
        self._stream, self._steps = (problem.stream, state.epoch), 0

    @property
    def combines(self) -> bool:
        """Whether it combines gradients, and not losses."""
        return self._combine is not None

    def weights(self) -> Tensor:
        """``[M, T]`` of the next step; where gradients are combined, the given ones."""
        if not hasattr(self._module, "weights"):
            return self._given
        found = self._module.weights(self._problem.config, self._own, self._given)
        several = torch.where(self._given > 0, found.to(self._given.dtype), 0.0)
        return torch.where(self._several, several, self._given)

    def gradient(self, losses: Tensor, parameters: Tensor) -> Tensor:
        """``[M, P]`` what the optimiser follows, of ``losses [M, T]`` that depend on ``parameters [M, P]``."""
        if self._combine is None:
            (gradient,) = torch.autograd.grad((losses * self.weights()).sum(), parameters)
            return gradient
        last = losses.shape[1] - 1
        rows = [
            torch.autograd.grad(loss.sum(), parameters, retain_graph=task < last)[0]
            for task, loss in enumerate(losses.unbind(1))
        ]
        return self._combined(torch.stack(rows, dim=1))

    def _combined(self, jacobian: Tensor) -> Tensor:
        """``[M, T, P]`` to ``[M, P]``, member by member."""
        assert self._combine is not None  # noqa: S101 - for the type checker
        shared, found = self._problem.layout.num_shared, []
        seed = stream_seed("weighting", *self._stream, self._steps)
        for rows, given in zip(jacobian, self._given, strict=True):
            own = rows[given > 0]  # a copy: how memory is aligned must not depend on the stack
            if len(own) == 1:
                found.append(given[given > 0] @ own)
                continue
            trunk = self._combine(own[:, :shared].contiguous(), seed)
            found.append(torch.cat([trunk, own[:, shared:].sum(0)]))
        return torch.stack(found)

    def step(self, losses: Tensor, labelled: Tensor, lr: Tensor) -> None:
        """Tell of a step; arguments as in :mod:`ensemble_mtl.train.weighting.base`."""
        self._steps += 1
        if hasattr(self._module, "step"):
            self._module.step(self._problem.config, self._own, losses, labelled, lr)

    def end(self, state: StackState, losses: Tensor) -> None:
        """Tell of the end of the epoch, whose mean losses are ``[M, T]``, and put the state back."""
        if hasattr(self._module, "epoch"):
            self._module.epoch(self._problem.config, self._own, losses)
        state.put("weighting", self._own)


def current_weights(problem: Problem, state: StackState, given: Tensor) -> Tensor | None:
    """``[M, T]`` weights of the next step; None where gradients are combined without any."""
    weighting = registry.load("train.weighting", problem.config.weighting.name)
    return Weighted(problem, state, given).weights() if hasattr(weighting, "weights") else None
