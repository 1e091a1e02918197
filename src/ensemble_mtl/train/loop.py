"""One epoch of a stack: its batches, validation, best weights, learning-rate schedule, early stopping."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.models.layout import stream_seed
from ensemble_mtl.train import recorded
from ensemble_mtl.train.epoch_weighting import current_weights, observe
from ensemble_mtl.train.schedule import base as schedules
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Errors, Problem, TrainingStep, errors_on


@dataclass(frozen=True)
class EpochReport:
    """What one epoch brought, member by member.

    Attributes:
        epoch: number of epochs trained so far.
        lr: ``[M]`` learning rate of the epoch.
        train: training errors, each at the weights that the model had at the training step of that label.
        val: validation errors at the end of the epoch.
        test: test errors, for curves only; None in epochs that leave them out.
        val_loss: ``[M]`` weighted sum of validation errors, which early stopping watches.
        seconds: wall-clock of the epoch for the whole stack, without the test errors, which training does not need.
        failed: ``[M]`` bool, members whose loss is no longer finite.
        weights: ``[M, T]`` task weights of the epoch's first step; None where gradients are combined without weights.
        weighting_seconds: the part of ``seconds`` that went into estimates for the weighting.
    """

    epoch: int
    lr: Tensor
    train: Errors
    val: Errors
    test: Errors | None
    val_loss: Tensor
    seconds: float
    failed: Tensor
    weights: Tensor | None
    weighting_seconds: float

    def take(self, rows: Sequence[int]) -> EpochReport:
        """Return the report on the members in these rows only, in the order of ``rows``."""
        index = list(rows)
        return replace(
            self,
            lr=self.lr[index],
            train=self.train.take(index),
            val=self.val.take(index),
            test=None if self.test is None else self.test.take(index),
            val_loss=self.val_loss[index],
            failed=self.failed[index],
            weights=None if self.weights is None else self.weights[index],
        )


def run_epoch(problem: Problem, state: StackState, configured: Tensor) -> EpochReport:
    """Train and validate for one epoch, updating ``state`` in place, each member's best weights included.

    Args:
        problem: model and data.
        state: M members.
        configured: ``[M, T]`` task weights of the configuration, 0 for tasks that a member does not learn. They weigh
            the validation loss, whatever weighting is used in training.
    """
    lr = problem.config.optimizer.lr * state["schedule.factor"]
    started = time.perf_counter()
    weighting_seconds = observe(problem, state)
    first_weights = current_weights(problem, state, configured)
    train = train_epoch(problem, state, configured).cpu()
    val = errors_on(problem, state, problem.val).cpu()
    seconds = time.perf_counter() - started
    task_weights = configured.double().cpu()
    val_loss = _weighted_sum(val.mse, task_weights)
    train_loss = _weighted_sum(train.mse, task_weights)
    state["stack_seconds"].add_(seconds)
    state["seconds"].add_(seconds / len(state))

    keep_best(state, val_loss)
    _step_schedule(problem.config, state, val_loss)
    every = problem.config.test_every
    is_tested = every is not None and state.epoch % every == 0
    return EpochReport(
        epoch=state.epoch,
        lr=lr,
        train=train,
        val=val,
        test=errors_on(problem, state, problem.test).cpu() if is_tested else None,
        val_loss=val_loss,
        seconds=seconds,
        failed=~(train_loss.isfinite() & val_loss.isfinite()),
        weights=first_weights,
        weighting_seconds=weighting_seconds,
    )


def train_epoch(problem: Problem, state: StackState, configured: Tensor) -> Errors:
    """Train for one epoch, updating ``state`` in place; every member sees the same batches in the same order.

    Args:
        problem: model and data.
        state: M members.
        configured: ``[M, T]`` task weights of the configuration, 0 for tasks that a member does not learn; the
            weighting makes its own weights of them.

    Returns:
        errors over the epoch's labels, each at the weights that the model had at the training step of that label.
    """
    step = TrainingStep(problem, state, configured)
    # Batches of separate graphs differ in shape, and a combiner of gradients computes on the CPU: neither is recorded.
    can_be_recorded = configured.is_cuda and problem.table.shared and not step.combines_gradients
    run_step = recorded.RecordedStep(step, recorded.cuda_graph if can_be_recorded else None)
    for graphs in batches(problem, state.epoch):
        run_step(graphs)
    state.epoch += 1
    return step.finish()


def batches(problem: Problem, epoch: int) -> Sequence[Tensor]:
    """Return the batches of ``epoch``: ``[B]`` indices of training graphs each, in an order that the epoch decides.

    The order does not depend on the member: it is drawn from a random stream that the epoch and the split name.
    """
    generator = torch.Generator().manual_seed(stream_seed("batches", problem.stream, epoch))
    order = torch.randperm(len(problem.train), generator=generator).to(problem.train.device)
    return problem.train[order].split(problem.config.batch_size)


def out_of_patience(config: TrainConfig, state: StackState) -> Tensor:
    """Return ``[M]`` bool: members whose best epoch lies as far back as early stopping allows."""
    if config.early_stopping is None:
        return torch.zeros(len(state), dtype=torch.bool)
    return state.epoch - state["best.epoch"] >= config.early_stopping.patience


def keep_best(state: StackState, val_loss: Tensor) -> None:
    """Copy the present weights to the best ones, for each member whose ``val_loss [M]`` is a new minimum."""
    rows = torch.nonzero(val_loss < state["best.loss"]).flatten()
    state["best.loss"][rows] = val_loss[rows]
    state["best.epoch"][rows] = state.epoch
    for name in ("parameters", "buffers"):
        on_device = rows.to(state[name].device)
        state[f"best.{name}"][on_device] = state[name][on_device]


def _weighted_sum(losses: Tensor, task_weights: Tensor) -> Tensor:
    """Return ``[M]``, the sum of ``losses [M, T]`` times ``task_weights [M, T]`` over tasks of positive weight.

    A task that the member does not learn is left out instead of being multiplied by 0, since its loss may be infinite.
    """
    return torch.where(task_weights > 0, losses * task_weights, 0.0).sum(1)


def _step_schedule(config: TrainConfig, state: StackState, val_loss: Tensor) -> None:
    """Set the learning-rate factors of the next epoch, after an epoch with the validation losses ``val_loss [M]``."""
    schedule_state = state.group("schedule")
    schedule = schedules.FAMILY.of(config.schedule)
    schedule.step(config.schedule, schedule_state, state.epoch, config.epochs, val_loss)
    state.put("schedule", schedule_state)
