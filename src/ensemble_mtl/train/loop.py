"""Epoch after epoch: validation, best weights, early stopping, learning-rate schedule."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Errors, Problem, errors_on, train_epoch
from ensemble_mtl.train.weighted import current_weights, observe


@dataclass(frozen=True)
class EpochReport:
    """What one epoch brought, member by member.

    Attributes:
        epoch: epochs trained so far.
        lr: ``[M]`` learning rate of the epoch.
        train: training errors, each label as it was met during the epoch.
        val: validation errors.
        test: test errors, for curves only; None in epochs that leave them out.
        val_loss: ``[M]`` weighted sum that early stopping watches.
        seconds: wall-clock of the epoch for the whole stack, without the test errors, which training does not need.
        stopped: ``[M]`` bool, members whose patience ended.
        failed: ``[M]`` bool, members whose loss is no longer finite.
        weights: ``[M, T]`` task weights of the epoch's first step; None where gradients are combined without any.
        weighting_seconds: the part of ``seconds`` that went into estimates for the weighting.
    """

    epoch: int
    lr: Tensor
    train: Errors
    val: Errors
    test: Errors | None
    val_loss: Tensor
    seconds: float
    stopped: Tensor
    failed: Tensor
    weights: Tensor | None
    weighting_seconds: float


def run_epoch(problem: Problem, state: StackState, weights: Tensor) -> EpochReport:
    """Train and validate for one epoch; keep each member's best weights in ``state``.

    ``weights [M, T]`` are the given ones. They weigh the validation loss whatever the weighting of the training.
    """
    lr = problem.config.optimizer.lr * state["schedule.factor"]
    started = time.perf_counter()
    weighting_seconds = observe(problem, state)
    used = current_weights(problem, state, weights)
    train = Errors(*(errors.cpu() for errors in train_epoch(problem, state, weights)))
    val = Errors(*(errors.cpu() for errors in errors_on(problem, state, problem.val)))
    seconds = time.perf_counter() - started
    shares = weights.double().cpu()
    # What a task that the member does not learn has for a loss, finite or not, is nothing to it.
    val_loss = torch.where(shares > 0, val.mse * shares, 0.0).sum(1)
    train_loss = torch.where(shares > 0, train.mse * shares, 0.0).sum(1)
    state["stack_seconds"].add_(seconds)
    state["seconds"].add_(seconds / len(state))

    keep_best(state, val_loss)
    schedule = registry.load("train.schedule", problem.config.schedule.name)
    factors = state.group("schedule")
    schedule.step(problem.config.schedule, factors, state.epoch, problem.config.epochs, val_loss)
    state.put("schedule", factors)

    stopped = out_of_patience(problem.config, state)
    failed = ~(train_loss.isfinite() & val_loss.isfinite())
    every = problem.config.test_every
    test = errors_on(problem, state, problem.test) if every and state.epoch % every == 0 else None
    test = test and Errors(*(errors.cpu() for errors in test))
    return EpochReport(
        state.epoch, lr, train, val, test, val_loss, seconds, stopped, failed, used, weighting_seconds
    )  # fmt: skip


def out_of_patience(config: TrainConfig, state: StackState) -> Tensor:
    """``[M]`` bool: members whose best epoch lies as far back as early stopping allows."""
    if config.early_stopping is None:
        return torch.zeros(len(state), dtype=torch.bool)
    return state.epoch - state["best.epoch"] >= config.early_stopping.patience


def keep_best(state: StackState, val_loss: Tensor) -> None:
    """Where ``val_loss [M]`` is a new minimum, make the present weights the best ones."""
    rows = torch.nonzero(val_loss < state["best.loss"]).flatten()
    state["best.loss"][rows] = val_loss[rows]
    state["best.epoch"][rows] = state.epoch
    for name in ("parameters", "buffers"):
        on_device = rows.to(state[name].device)
        state[f"best.{name}"][on_device] = state[name][on_device]
