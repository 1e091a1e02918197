"""One training step of a stack, and what its members predict without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.data.batch import GraphBatch
from ensemble_mtl.data.table import GraphTable
from ensemble_mtl.models.layout import Layout
from ensemble_mtl.models.model import Model, Outputs
from ensemble_mtl.train.epoch_weighting import EpochWeighting
from ensemble_mtl.train.loss import absolute_errors, task_losses
from ensemble_mtl.train.optimizer import base as optimizers
from ensemble_mtl.train.state import StackState

EVALUATION_BATCH = 256
"""Graphs per forward pass without gradients; it changes no result beyond rounding."""


@dataclass(frozen=True)
class Problem:
    """The model and the data that a stack is trained on, the same for all of its members.

    Attributes:
        model: computes the predictions of all members from their weights.
        layout: where each parameter stands in a member's flat vector of P parameters.
        buffers: where each running statistic stands in a member's flat vector of Q buffers.
        table: all graphs, in normalised units.
        train: ``[n]`` indices of the training graphs.
        val: ``[n]`` indices of the validation graphs.
        test: ``[n]`` indices of the test graphs; no training and no decision depends on them.
        stream: name of the random stream that shuffles batches; it names the split, not the member.
        config: how members are trained.
        curvature: estimates the curvature of each task's loss, ``[M, T]`` float64, for a weighting that needs it; None
            if there is no such estimate.
    """

    model: Model
    layout: Layout
    buffers: Layout
    table: GraphTable
    train: Tensor
    val: Tensor
    test: Tensor
    stream: str
    config: TrainConfig
    curvature: Callable[[Problem, StackState], Tensor] | None = None


class Errors(NamedTuple):
    """Errors of normalised predictions, each label counting once; float64.

    Attributes:
        mse: ``[M, T]`` mean squared errors.
        mae: ``[M, T]`` mean absolute errors.
    """

    mse: Tensor
    mae: Tensor

    def take(self, rows: Sequence[int]) -> Errors:
        """Return the errors of the members in these rows, in the order of ``rows``."""
        return Errors(self.mse[list(rows)], self.mae[list(rows)])

    def cpu(self) -> Errors:
        """Return the same errors in the host's memory."""
        return Errors(self.mse.cpu(), self.mae.cpu())


class TrainingStep:
    """The training step of a stack during one epoch; it is called with one batch after the other.

    At every call it changes the same tensors in place and nothing else, so that it can be recorded
    (:mod:`ensemble_mtl.train.recorded`).

    Args:
        problem: model and data.
        state: M members.
        configured: ``[M, T]`` task weights of the configuration, 0 for tasks that a member does not learn; the
            weighting makes its own weights of them.
    """

    def __init__(self, problem: Problem, state: StackState, configured: Tensor) -> None:
        self._problem, self._state = problem, state
        self._optimizer = optimizers.FAMILY.of(problem.config.optimizer)
        self._optimizer_state = state.group("optimizer")
        self._lr = problem.config.optimizer.lr * state["schedule.factor"].to(state["parameters"].device)
        # sums over all labels of the epoch, from which finish() makes means
        self._squared, self._absolute = (torch.zeros_like(configured, dtype=torch.float64) for _ in range(2))
        self._label_counts = torch.zeros(configured.shape[1], dtype=torch.float64, device=configured.device)
        self._weighting = EpochWeighting(problem, state, configured)

    @property
    def combines_gradients(self) -> bool:
        """Whether the weighting combines the tasks' gradients, instead of weighting their losses."""
        return self._weighting.combines

    def __call__(self, graphs: Tensor) -> None:
        """Do one step: predictions, losses, gradient, update.

        Args:
            graphs: ``[B]`` indices of the batch's graphs in the table.
        """
        problem, state = self._problem, self._state
        batch = problem.table.batch(graphs)
        losses, absolute, gradient = _losses_and_gradient(problem, state, self._weighting, batch)
        self._optimizer.step(problem.config.optimizer, state["parameters"], gradient, self._optimizer_state, self._lr)
        label_counts = _label_counts(batch, problem.model.spec.tasks)
        self._weighting.step(losses, label_counts > 0, self._lr)
        self._squared.add_(losses * label_counts)
        self._absolute.add_(absolute * label_counts)
        self._label_counts.add_(label_counts)

    def finish(self) -> Errors:
        """End the epoch: put the states of the optimiser and of the weighting back into the stack's.

        Returns:
            errors over the epoch's labels, each at the weights that the model had at the training step of that label.
        """
        self._state.put("optimizer", self._optimizer_state)
        counts = self._label_counts
        errors = Errors(self._squared / counts.clamp(min=1), self._absolute / counts.clamp(min=1))
        self._weighting.end(self._state, errors.mse)
        return errors


def losses_and_gradient(
    problem: Problem, state: StackState, configured: Tensor, graphs: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute what a training step computes before it updates the parameters.

    Args:
        problem: model and data.
        state: M members; running statistics of batch norm are updated in place.
        configured: ``[M, T]`` task weights of the configuration, 0 for tasks that a member does not learn.
        graphs: ``[B]`` indices of the batch's graphs in the table.

    Returns:
        task losses ``[M, T]``, and the gradient ``[M, P]`` that the weighting makes of them.
    """
    weighting = EpochWeighting(problem, state, configured)
    losses, _, gradient = _losses_and_gradient(problem, state, weighting, problem.table.batch(graphs))
    return losses, gradient


def _losses_and_gradient(
    problem: Problem, state: StackState, weighting: EpochWeighting, batch: GraphBatch
) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean squared errors ``[M, T]``, mean absolute errors ``[M, T]`` and the gradient ``[M, P]`` of a batch.

    Members share no parameter, so one backward pass on the sum over members gives the gradient of each of them.
    """
    parameters = state["parameters"].detach().requires_grad_()
    buffers = problem.buffers.unflatten(state["buffers"])
    outputs = problem.model(problem.layout.unflatten(parameters), buffers, batch, training=True)
    losses = task_losses(outputs, batch, problem.model.spec.tasks)
    absolute = absolute_errors(outputs, batch, problem.model.spec.tasks)
    return losses.detach(), absolute, weighting.gradient(losses, parameters)


@torch.no_grad()
def predict(problem: Problem, parameters: Tensor, buffers: Tensor, graphs: Tensor) -> Outputs:
    """Predict all tasks for some graphs, in normalised units and in evaluation mode.

    Args:
        problem: model and data.
        parameters: ``[M, P]`` weights of the members.
        buffers: ``[M, Q]`` running statistics of the members.
        graphs: ``[G]`` indices of graphs in the table; predictions are in their order.

    Returns:
        task -> ``[M, G]`` (graph level) or ``[M, sum of nodes]`` (node level, graph by graph).
    """
    named_parameters, named_buffers = problem.layout.unflatten(parameters), problem.buffers.unflatten(buffers)
    predictions: dict[str, list[Tensor]] = {task: [] for task in problem.model.spec.tasks}
    for indices in graphs.split(EVALUATION_BATCH):
        outputs = problem.model(named_parameters, named_buffers, problem.table.batch(indices), training=False)
        for task, values in outputs.items():
            # [M, G] as it is; [M, N, B] with the graph inside the node becomes [M, B N], graph by graph
            predictions[task].append(values if values.dim() == 2 else values.transpose(1, 2).flatten(1))
    return {task: torch.cat(values, dim=1) for task, values in predictions.items()}


def validate(problem: Problem, state: StackState) -> Tensor:
    """Return ``[M, T]`` mean squared errors over the validation graphs, each label counting once."""
    return errors_on(problem, state, problem.val).mse


@torch.no_grad()
def errors_on(problem: Problem, state: StackState, graphs: Tensor) -> Errors:
    """Return the errors over ``graphs`` at the present weights, in evaluation mode; ``state`` stays as it is.

    Args:
        problem: model and data.
        state: M members.
        graphs: ``[G]`` indices of graphs in the table.
    """
    parameters = problem.layout.unflatten(state["parameters"])
    buffers = problem.buffers.unflatten(state["buffers"])
    tasks = problem.model.spec.tasks
    device = state["parameters"].device
    squared, absolute = (torch.zeros(len(state), len(tasks), dtype=torch.float64, device=device) for _ in range(2))
    counts = torch.zeros(len(tasks), dtype=torch.float64, device=device)
    for indices in graphs.split(EVALUATION_BATCH):
        batch = problem.table.batch(indices)
        outputs = problem.model(parameters, buffers, batch, training=False)
        label_counts = _label_counts(batch, tasks)
        squared += task_losses(outputs, batch, tasks).double() * label_counts
        absolute += absolute_errors(outputs, batch, tasks).double() * label_counts
        counts += label_counts
    return Errors(squared / counts.clamp(min=1), absolute / counts.clamp(min=1))


def _label_counts(batch: GraphBatch, tasks: Sequence[str]) -> Tensor:
    """Return how many labels the batch has for each task, ``[T]`` float64."""
    return torch.stack([num_labels(batch.targets[task], batch.labelled.get(task)) for task in tasks])


def num_labels(targets: Tensor, mask: Tensor | None) -> Tensor:
    """Return how many labels a batch has for one task, as a float64 scalar tensor.

    Args:
        targets: the task's labels, of any shape.
        mask: of the same shape, 1 where a label exists and 0 elsewhere; None if all exist.
    """
    if mask is None:  # full() fills on the device; a tensor made from a number would be copied there
        return torch.full((), targets.numel(), dtype=torch.float64, device=targets.device)
    return mask.sum().double()
