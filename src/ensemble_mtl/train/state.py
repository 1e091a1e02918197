"""The training state of a stack: everything that training changes, member by member."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.models.layout import Layout
from ensemble_mtl.train.optimizer import base as optimizers
from ensemble_mtl.train.schedule import base as schedules
from ensemble_mtl.train.weighting import base as weightings


@dataclass
class StackState:
    """The state of M members that have trained for the same number of epochs.

    Every tensor leads with the member axis:

    * ``parameters [M, P]`` and ``buffers [M, Q]``: the present weights and running statistics;
    * ``best.parameters``, ``best.buffers``, ``best.loss [M]`` and ``best.epoch [M]``: those of the least validation
      loss so far;
    * ``seconds [M]``: wall-clock that the member accounts for, each epoch's divided by the members then in the stack;
    * ``stack_seconds [M]``: wall-clock of the stacks while the member was in them;
    * ``optimizer.*``, ``schedule.*`` and ``weighting.*``: the states of these components.

    Attributes:
        tensors: name -> tensor.
        epoch: number of epochs trained, the same for all members.
    """

    tensors: dict[str, Tensor]
    epoch: int = 0

    def __len__(self) -> int:
        return len(self.tensors["parameters"])

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors whose names begin with ``prefix.``, under the rest of their names."""
        dotted = f"{prefix}."
        return {name.removeprefix(dotted): value for name, value in self.tensors.items() if name.startswith(dotted)}

    def put(self, prefix: str, values: dict[str, Tensor]) -> None:
        """Set the tensors that :meth:`group` returns for ``prefix``."""
        self.tensors.update({f"{prefix}.{name}": value for name, value in values.items()})

    def take(self, rows: Sequence[int]) -> StackState:
        """Return a copy of the members in these rows only, in the order of ``rows``."""
        return StackState({name: value[list(rows)].clone() for name, value in self.tensors.items()}, self.epoch)


def initial(
    layout: Layout, buffers: Layout, seeds: Sequence[int], train: TrainConfig, device: torch.device
) -> StackState:
    """Return the state of untrained members, one per seed.

    Args:
        layout: where each parameter stands in a member's flat vector.
        buffers: where each running statistic stands in a member's flat vector.
        seeds: seeds of the M members' initial weights.
        train: how members are trained; it names the components that have a state.
        device: where parameters, buffers and the weighting's state are put.
    """
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
    state.put("optimizer", optimizers.FAMILY.of(train.optimizer).start(parameters))
    state.put("schedule", schedules.FAMILY.of(train.schedule).start(train.schedule, num_members))
    weighting = weightings.FAMILY.of(train.weighting).start(train, num_members, layout.num_tasks)
    state.put("weighting", {name: value.to(device) for name, value in weighting.items()})
    return state


def joined(states: Sequence[StackState]) -> StackState:
    """Return one state with the members of all ``states``, in their order.

    Raises:
        ValueError: the members have trained for different numbers of epochs.
    """
    epochs = {state.epoch for state in states}
    if len(epochs) != 1:
        raise ValueError(f"members of one stack must be at one epoch, got {sorted(epochs)}")
    names = states[0].tensors
    return StackState({name: torch.cat([state[name] for state in states]) for name in names}, epochs.pop())
