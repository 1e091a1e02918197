"""All that training changes, per member; what a checkpoint holds and a stack is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.models.layout import Layout


@dataclass
class StackState:
    """State of M members after ``epoch`` epochs.

    Attributes:
        tensors: every entry leads with the member axis: ``parameters [M, P]``, ``buffers
            [M, Q]``, ``best.parameters``, ``best.buffers``, ``best.loss [M]``, ``best.epoch
            [M]``, ``seconds [M]``, ``stack_seconds [M]``, and the optimiser's and schedule's
            own under ``optimizer.`` and ``schedule.``, and the weighting's under ``weighting.``.
        epoch: epochs trained; the same for all members of a stack.
    """

    tensors: dict[str, Tensor]
    epoch: int = 0

    def __len__(self) -> int:
        return len(self.tensors["parameters"])

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """The entries under ``prefix.``, by their short names."""
        start = f"{prefix}."
        return {name.removeprefix(start): value for name, value in self.tensors.items() if name.startswith(start)}

    def put(self, prefix: str, values: dict[str, Tensor]) -> None:
        """Set the entries under ``prefix.``."""
        self.tensors.update({f"{prefix}.{name}": value for name, value in values.items()})

    def take(self, rows: Sequence[int]) -> StackState:
        """A copy that holds only the given members, in the given order."""
        return StackState({name: value[list(rows)].clone() for name, value in self.tensors.items()}, self.epoch)


def initial(
    layout: Layout, buffers: Layout, seeds: Sequence[int], train: TrainConfig, device: torch.device
) -> StackState:
    """Untrained members, one per seed."""
    dtype = getattr(torch, train.dtype)
    parameters = layout.initial(seeds, dtype).to(device)
    running = buffers.initial(seeds, dtype).to(device)
    num_members = len(seeds)
    zeros = torch.zeros(num_members, dtype=torch.float64)
    state = StackState(
        {
            "parameters": parameters,
            "buffers": running,
            "best.parameters": parameters.clone(),
            "best.buffers": running.clone(),
            "best.loss": zeros + float("inf"),
            "best.epoch": torch.zeros(num_members, dtype=torch.int64),
            "seconds": zeros.clone(),
            "stack_seconds": zeros.clone(),
        }
    )
    state.put("optimizer", registry.load("train.optimizer", train.optimizer.name).start(parameters))
    schedule = registry.load("train.schedule", train.schedule.name)
    state.put("schedule", schedule.start(train.schedule, num_members))
    weighting = registry.load("train.weighting", train.weighting.name).start(train, num_members, layout.num_tasks)
    state.put("weighting", {name: value.to(device) for name, value in weighting.items()})
    return state


def joined(states: Sequence[StackState]) -> StackState:
    """One stack of all members of ``states``, which have trained equally long."""
    epochs = {state.epoch for state in states}
    if len(epochs) != 1:
        raise ValueError(f"members of one stack must be at one epoch, got {sorted(epochs)}")
    names = states[0].tensors
    return StackState({name: torch.cat([state[name] for state in states]) for name in names}, epochs.pop())
