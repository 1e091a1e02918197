"""Members of different subsets in one stack: each has all heads there, and keeps its own.

The loss weights of the others are 0, so they do not move and change nothing: a member's numbers are those that it has
in a stack of its own subset, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
    columns = _columns(problem, subset)
    if columns is None:
        return state
    size = problem.layout.size
    kept = {
        name: value[:, columns] if _of_parameters(name, value, size) else value for name, value in state.tensors.items()
    }
    return StackState(kept, state.epoch)


def widened(problem: Problem, subset: Sequence[str], state: StackState, untrained: StackState) -> StackState:
    """``state`` with all heads, the others as in ``untrained``."""
    columns = _columns(problem, subset)
    if columns is None:
        return state
    wide = {}
    for name, value in state.tensors.items():
        wide[name] = value
        if _of_parameters(name, value, len(columns)):
            wide[name] = untrained[name].index_copy(1, columns, value)
    return StackState(wide, state.epoch)


def _columns(problem: Problem, subset: Sequence[str]) -> Tensor | None:
    """Where the subset's parameters stand; None if they are all."""
    if tuple(subset) == problem.model.spec.tasks:
        return None
    return problem.layout.columns(Layout(own_spec(problem, subset).parameters())).to(problem.train.device)


def _of_parameters(name: str, value: Tensor, size: int) -> bool:
    return name.endswith("parameters") or (name.startswith("optimizer.") and value.shape[1:] == (size,))
