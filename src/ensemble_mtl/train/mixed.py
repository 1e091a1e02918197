"""Members of different subsets in one stack: each has all heads there, and keeps its own.

The loss weights of the others are 0, so they do not move and change nothing: a member's numbers are those that it has
in a stack of its own subset, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ensemble_mtl.models.layout import Layout
from ensemble_mtl.models.spec import ModelSpec
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem


def own_spec(problem: Problem, subset: Sequence[str]) -> ModelSpec:
    """Of the model that has the subset's heads only."""
    return replace(problem.model.spec, tasks=tuple(subset))


def narrowed(problem: Problem, subset: Sequence[str], state: StackState) -> StackState:
    """``state`` with the subset's heads only."""
    if tuple(subset) == problem.model.spec.tasks:
        return state
    kept = {
        name: value if (columns := _columns(problem, subset, name, value, wide=True)) is None else value[:, columns]
        for name, value in state.tensors.items()
    }
    return StackState(kept, state.epoch)


def widened(problem: Problem, subset: Sequence[str], state: StackState, untrained: StackState) -> StackState:
    """``state`` with all heads, the others as in ``untrained``."""
    if tuple(subset) == problem.model.spec.tasks:
        return state
    wide = {
        name: value
        if (columns := _columns(problem, subset, name, value, wide=False)) is None
        else untrained[name].index_copy(1, columns, value)
        for name, value in state.tensors.items()
    }
    return StackState(wide, state.epoch)


def _columns(problem: Problem, subset: Sequence[str], name: str, value: Tensor, *, wide: bool) -> Tensor | None:
    """Where what belongs to the subset stands in the wide tensor of this name; None if it is not by head or task.

    Args:
        problem: of all heads.
        subset: the tasks to keep.
        name: of the tensor in the state.
        value: the tensor, of all heads if ``wide``, else of the subset's.
        wide: which of the two.
    """
    if name.startswith("weighting."):
        tasks = problem.model.spec.tasks
        found, size = torch.tensor([tasks.index(task) for task in subset]), len(tasks)
    elif name.endswith("parameters") or name.startswith("optimizer."):
        layout = Layout(own_spec(problem, subset).parameters())
        found, size = problem.layout.columns(layout), problem.layout.size
    else:
        return None
    if value.shape[1:2] != (size if wide else len(found),):
        return None
    return found.to(value.device)
