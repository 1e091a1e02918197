"""Members of several subsets in one stack have, bit for bit, the numbers of stacks of their own subsets."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.problems import make, start
from helpers.states import assert_same_state
from helpers.stores import lattice_store
from helpers.weightings import ALL

from ensemble_mtl.config import registry
from ensemble_mtl.train.loop import run_epoch
from ensemble_mtl.train.mixed import subset_spec, with_all_heads, with_subset_heads
from ensemble_mtl.train.state import StackState, joined
from ensemble_mtl.train.step import Problem

STORE = lattice_store(13)
TASKS = ("H", "C", "G")
SUBSETS = (TASKS, ("H", "G"), ("C",))
SEEDS = (0, 1, 2)


def weights(problem: Problem, *subsets: tuple[str, ...]) -> torch.Tensor:
    rows = [[float(task in subset) for task in problem.model.spec.tasks] for subset in subsets]
    return torch.tensor(rows, dtype=torch.float64)


def trained_alone(problem: Problem, subset: tuple[str, ...], state: StackState, epochs: int) -> StackState:
    for _ in range(epochs):
        run_epoch(problem, state, weights(problem, subset))
    return state


@pytest.mark.parametrize(
    "options",
    [
        *[pytest.param({"weighting": mark.values[0]}, id=mark.id, marks=mark.marks) for mark in ALL],
        *[pytest.param({"optimizer": {"name": name}}, id=name) for name in registry.names("train.optimizer")],
    ],
)
def test_members_are_those_of_their_own_subsets(options: dict[str, Any]):
    """Two epochs alone, two in one stack and two alone again are the same as six epochs alone."""
    mixed = make(STORE, TASKS, **options)
    alone = [make(STORE, subset, **options) for subset in SUBSETS]
    states = [trained_alone(p, s, start(p, [seed]), 2) for p, s, seed in zip(alone, SUBSETS, SEEDS, strict=True)]
    all_headed = [
        with_all_heads(mixed, subset, state, start(mixed, [seed]))
        for subset, state, seed in zip(SUBSETS, states, SEEDS, strict=True)
    ]
    together = joined(all_headed)
    for _ in range(2):
        run_epoch(mixed, together, weights(mixed, *SUBSETS))
    for row, (problem, subset) in enumerate(zip(alone, SUBSETS, strict=True)):
        actual = with_subset_heads(mixed, subset, together.take([row]))
        expected = trained_alone(problem, subset, start(problem, [SEEDS[row]]), 4)
        assert_same_state(actual, expected)
        assert_same_state(trained_alone(problem, subset, actual, 2), trained_alone(problem, subset, expected, 2))


def test_a_member_has_its_own_heads_only():
    mixed, pair = make(STORE, TASKS), make(STORE, ("H", "G"))
    assert subset_spec(mixed, ("H", "G")) == pair.model.spec
    state = with_subset_heads(mixed, ("H", "G"), start(mixed, [5]))
    assert_same_state(state, start(pair, [5]))
    restored = with_all_heads(mixed, ("H", "G"), state, start(mixed, [5]))
    assert_same_state(restored, start(mixed, [5]))
