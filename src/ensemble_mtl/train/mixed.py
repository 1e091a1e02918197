"""Members of different subsets in one stack: there each has the heads of all tasks, and on disk only its own.

The loss weights of the tasks that a member does not learn are 0, so their heads do not move and change nothing. A
member's numbers are those that it has in a stack of its own subset, bit for bit.
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


def subset_spec(problem: Problem, subset: Sequence[str]) -> ModelSpec:
    """Return the specification of the problem's model with the heads of ``subset`` only."""
    return replace(problem.model.spec, tasks=tuple(subset))


def with_subset_heads(problem: Problem, subset: Sequence[str], state: StackState) -> StackState:
    """Return ``state``, which has all heads of ``problem``, with the heads of ``subset`` only."""
    if tuple(subset) == problem.model.spec.tasks:
        return state
    narrow = {
        name: value
        if (columns := _subset_columns(problem, subset, name, value, has_all_heads=True)) is None
        else value[:, columns]
        for name, value in state.tensors.items()
    }
    return StackState(narrow, state.epoch)


def with_all_heads(problem: Problem, subset: Sequence[str], state: StackState, untrained: StackState) -> StackState:
    """Return ``state``, which has the heads of ``subset`` only, with all heads of ``problem``.

    The heads of all other tasks are those of ``untrained``, a state of the same members that has all heads.
    """
    if tuple(subset) == problem.model.spec.tasks:
        return state
    wide = {
        name: value
        if (columns := _subset_columns(problem, subset, name, value, has_all_heads=False)) is None
        else untrained[name].index_copy(1, columns, value)
        for name, value in state.tensors.items()
    }
    return StackState(wide, state.epoch)


def _subset_columns(
    problem: Problem, subset: Sequence[str], name: str, value: Tensor, *, has_all_heads: bool
) -> Tensor | None:
    """Return which columns of a tensor with all heads belong to the subset, ``[C]`` int64.

    It is None for a tensor whose columns are neither parameters nor tasks, such as the best loss.

    Args:
        problem: has all heads.
        subset: the tasks whose columns are wanted.
        name: the tensor's name in the state.
        value: the tensor, ``[M, …]``.
        has_all_heads: whether the tensor has all heads, or those of the subset only.
    """
    if name.startswith("weighting."):
        tasks = problem.model.spec.tasks
        columns, size = torch.tensor([tasks.index(task) for task in subset]), len(tasks)
    elif name.endswith("parameters") or name.startswith("optimizer."):
        layout = Layout(subset_spec(problem, subset).parameters())
        columns, size = problem.layout.columns(layout), problem.layout.size
    else:
        return None
    # an optimiser and a weighting may also keep tensors that have one value per member
    if value.shape[1:2] != (size if has_all_heads else len(columns),):
        return None
    return columns.to(value.device)
