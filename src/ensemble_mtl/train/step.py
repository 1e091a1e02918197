"""One epoch of a stack: every member sees the same batches in the same order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.data.batch import GraphBatch
from ensemble_mtl.data.table import GraphTable
from ensemble_mtl.models.layout import Layout, stream_seed
from ensemble_mtl.models.model import Model, Outputs
from ensemble_mtl.train import recorded
from ensemble_mtl.train.loss import absolute_errors, task_losses
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.weighted import Weighted

EVALUATION_BATCH = 256
"""Graphs per forward pass without gradients; it changes no result beyond rounding."""


@dataclass(frozen=True)
class Problem:
    """What a stack is trained on; the same for all of its members but for ``weights``.

    Attributes:
        model: the function.
        layout: where parameters stand in the flat vectors.
        buffers: likewise for running statistics.
        table: all graphs.
        train: ``[n]`` indices of the training graphs.
        val: ``[n]`` indices of the validation graphs.
        test: ``[n]`` indices of the test graphs; nothing that is trained or decided looks at them.
        stream: names the batches' random stream; the study's split, not the member.
        config: how to train.
        curvature: of each task's loss, ``[M, T]`` float64, for a weighting that wants it.
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
        mse: ``[M, T]`` mean squared ones.
        mae: ``[M, T]`` mean absolute ones.
    """

    mse: Tensor
    mae: Tensor


def train_epoch(problem: Problem, state: StackState, weights: Tensor) -> Errors:
    """Train for one epoch, updating ``state`` in place.

    Args:
        problem: model and data.
        state: M members.
        weights: ``[M, T]`` given loss weights, 0 for tasks that a member does not learn; the weighting makes its own
            of them.

    Returns:
        errors over the epoch's labels, each with the weights that met it.
    """
    optimizer = registry.load("train.optimizer", problem.config.optimizer.name)
    moments = state.group("optimizer")
    lr = problem.config.optimizer.lr * state["schedule.factor"].to(state["parameters"].device)
    squared, absolute = (torch.zeros_like(weights, dtype=torch.float64) for _ in range(2))
    labels = torch.zeros(weights.shape[1], dtype=torch.float64, device=weights.device)
    weighted = Weighted(problem, state, weights)

    def step(graphs: Tensor) -> None:
        batch = problem.table.batch(graphs)
        losses, sizes, gradient = _losses_and_gradient(problem, state, weighted, batch)
        optimizer.step(problem.config.optimizer, state["parameters"], gradient, moments, lr)
        count = _label_counts(batch, problem.model.spec.tasks)
        weighted.step(losses, count > 0, lr)
        squared.add_(losses * count)
        absolute.add_(sizes * count)
        labels.add_(count)

    # Batches of separate graphs have shapes of their own, and a combiner of gradients computes on the CPU.
    alike = problem.table.shared and not weighted.combines
    recorded.each(step, batches(problem, state.epoch), recorded.cuda_graph if alike and weights.is_cuda else None)
    state.put("optimizer", moments)
    state.epoch += 1
    found = Errors(squared / labels.clamp(min=1), absolute / labels.clamp(min=1))
    weighted.end(state, found.mse)
    return found


def batches(problem: Problem, epoch: int) -> Sequence[Tensor]:
    """Training indices of ``epoch``, shuffled by a stream of its own, in batches."""
    generator = torch.Generator().manual_seed(stream_seed("batches", problem.stream, epoch))
    order = torch.randperm(len(problem.train), generator=generator).to(problem.train.device)
    return problem.train[order].split(problem.config.batch_size)


def losses_and_gradient(problem: Problem, state: StackState, weights: Tensor, graphs: Tensor) -> tuple[Tensor, Tensor]:
    """Task losses ``[M, T]`` and the gradient ``[M, P]`` that the weighting makes of them, of given ``weights``.

    Members share no parameter, so one backward pass on the sum over members serves all.
    """
    losses, _, gradient = _losses_and_gradient(
        problem, state, Weighted(problem, state, weights), problem.table.batch(graphs)
    )
    return losses, gradient


def _losses_and_gradient(
    problem: Problem, state: StackState, weighted: Weighted, batch: GraphBatch
) -> tuple[Tensor, Tensor, Tensor]:
    flat = state["parameters"].detach().requires_grad_()
    buffers = problem.buffers.unflatten(state["buffers"])
    outputs = problem.model(problem.layout.unflatten(flat), buffers, batch, training=True)
    losses = task_losses(outputs, batch, problem.model.spec.tasks)
    sizes = absolute_errors(outputs, batch, problem.model.spec.tasks)
    return losses.detach(), sizes, weighted.gradient(losses, flat)


@torch.no_grad()
def predict(problem: Problem, parameters: Tensor, buffers: Tensor, graphs: Tensor) -> Outputs:
    """Normalised predictions for ``graphs``, in their order.

    Returns:
        task -> ``[M, G]`` (graph level) or ``[M, sum of nodes]`` (node level, graph by graph).
    """
    named, running = problem.layout.unflatten(parameters), problem.buffers.unflatten(buffers)
    found: dict[str, list[Tensor]] = {task: [] for task in problem.model.spec.tasks}
    for some in graphs.split(EVALUATION_BATCH):
        outputs = problem.model(named, running, problem.table.batch(some), training=False)
        for task, values in outputs.items():
            found[task].append(values if values.dim() == 2 else values.transpose(1, 2).flatten(1))
    return {task: torch.cat(values, dim=1) for task, values in found.items()}


def validate(problem: Problem, state: StackState) -> Tensor:
    """``[M, T]`` mean squared errors over the validation graphs, each label counting once."""
    return errors_on(problem, state, problem.val).mse


@torch.no_grad()
def errors_on(problem: Problem, state: StackState, graphs: Tensor) -> Errors:
    """Errors at the present weights over ``graphs``, in evaluation mode; changes nothing."""
    named = problem.layout.unflatten(state["parameters"])
    running = problem.buffers.unflatten(state["buffers"])
    tasks = problem.model.spec.tasks
    device = state["parameters"].device
    squared, absolute = (torch.zeros(len(state), len(tasks), dtype=torch.float64, device=device) for _ in range(2))
    labels = torch.zeros(len(tasks), dtype=torch.float64, device=device)
    for some in graphs.split(EVALUATION_BATCH):
        batch = problem.table.batch(some)
        outputs = problem.model(named, running, batch, training=False)
        count = _label_counts(batch, tasks)
        squared += task_losses(outputs, batch, tasks).double() * count
        absolute += absolute_errors(outputs, batch, tasks).double() * count
        labels += count
    return Errors(squared / labels.clamp(min=1), absolute / labels.clamp(min=1))


def _label_counts(batch: GraphBatch, tasks: Sequence[str]) -> Tensor:
    """``[T]`` float64."""
    return torch.stack([num_labels(batch.targets[task], batch.labelled.get(task)) for task in tasks])


def num_labels(targets: Tensor, mask: Tensor | None) -> Tensor:
    """How many labels a batch has for one task, as a float64 scalar tensor."""
    if mask is None:  # filled on the device; a tensor made of a number would be copied there
        return torch.full((), targets.numel(), dtype=torch.float64, device=targets.device)
    return mask.sum().double()
