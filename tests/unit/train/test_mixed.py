"""Members of several subsets in one stack: what each takes along, bit for bit that of a stack of its own subset."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.problems import make, start
from helpers.stores import lattice_store
from helpers.weightings import ALL

from ensemble_mtl.config import registry
from ensemble_mtl.train.loop import run_epoch
from ensemble_mtl.train.mixed import narrowed, own_spec, widened
from ensemble_mtl.train.state import StackState, joined
from ensemble_mtl.train.step import Problem

STORE = lattice_store(13)
TASKS = ("H", "C", "G")
SUBSETS = (TASKS, ("H", "G"), ("C",))
SEEDS = (0, 1, 2)


def weights(problem: Problem, *subsets: tuple[str, ...]) -> torch.Tensor:
    rows = [[float(task in subset) for task in problem.model.spec.tasks] for subset in subsets]
    return torch.tensor(rows, dtype=torch.float64)


def apart(problem: Problem, subset: tuple[str, ...], state: StackState, epochs: int) -> StackState:
    for _ in range(epochs):
        run_epoch(problem, state, weights(problem, subset))
    return state


def assert_same(found: StackState, expected: StackState) -> None:
    assert found.epoch == expected.epoch
    assert found.tensors.keys() == expected.tensors.keys()
    for name in found.tensors.keys() - {"seconds", "stack_seconds"}:
        assert torch.equal(found[name], expected[name]), name


@pytest.mark.parametrize(
    "options",
    [
        *[pytest.param({"weighting": mark.values[0]}, id=mark.id, marks=mark.marks) for mark in ALL],
        *[pytest.param({"optimizer": {"name": name}}, id=name) for name in registry.names("train.optimizer")],
    ],
)
def test_members_are_those_of_their_own_subsets(options: dict[str, Any]):
    """Two epochs apart, two together, two apart again; against six apart."""
    mixed = make(STORE, TASKS, **options)
    alone = [make(STORE, subset, **options) for subset in SUBSETS]
    states = [apart(p, s, start(p, [seed]), 2) for p, s, seed in zip(alone, SUBSETS, SEEDS, strict=True)]
    wide = [
        widened(mixed, subset, state, start(mixed, [seed]))
        for subset, state, seed in zip(SUBSETS, states, SEEDS, strict=True)
    ]
    together = joined(wide)
    for _ in range(2):
        run_epoch(mixed, together, weights(mixed, *SUBSETS))
    for row, (problem, subset) in enumerate(zip(alone, SUBSETS, strict=True)):
        found = narrowed(mixed, subset, together.take([row]))
        expected = apart(problem, subset, start(problem, [SEEDS[row]]), 4)
        assert_same(found, expected)
        assert_same(apart(problem, subset, found, 2), apart(problem, subset, expected, 2))


def test_a_member_has_its_own_heads_only():
    mixed, own = make(STORE, TASKS), make(STORE, ("H", "G"))
    assert own_spec(mixed, ("H", "G")) == own.model.spec
    state = narrowed(mixed, ("H", "G"), start(mixed, [5]))
    assert_same(state, start(own, [5]))
    back = widened(mixed, ("H", "G"), state, start(mixed, [5]))
    assert_same(back, start(mixed, [5]))
