"""How many members train together, as time and memory have it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import problems
from helpers.stores import STORES

from ensemble_mtl.core.runtime.memory import is_shortage
from ensemble_mtl.worker import grouping as stack_size
from ensemble_mtl.worker.grouping import WORTHWHILE, quickest

MEMBERS = 6


def setting(epochs: int = WORTHWHILE):
    problem = problems.make(STORES["open"](), epochs=epochs)
    return problem, problems.start(problem, list(range(MEMBERS)))


@pytest.mark.parametrize(
    ("seconds_by_size", "expected"),
    [
        ({6: 1.2, 3: 0.9, 2: 0.1}, 6),  # 0.2 against 0.3 per member: no further try
        ({6: 1.2, 3: 0.3, 2: 0.2, 1: 0.2}, 3),
        ({6: 1.2, 3: 0.58}, 6),  # hardly quicker
        ({6: float("inf"), 3: 0.9, 2: 0.9}, 3),  # short of memory
        ({6: float("inf"), 3: float("inf"), 2: float("inf"), 1: float("inf")}, 1),
    ],
)
def test_the_quickest_per_member_is_taken(monkeypatch, seconds_by_size, expected):
    monkeypatch.setattr(stack_size, "_step_seconds", lambda problem, state, graphs: seconds_by_size[len(state)])
    assert quickest(*setting()) == expected


def test_trying_changes_nothing():
    problem, state = setting()
    before = {name: value.clone() for name, value in state.tensors.items()}
    assert 1 <= quickest(problem, state) <= MEMBERS
    for name, value in state.tensors.items():
        assert torch.equal(value, before[name]), name


def test_short_training_is_not_worth_a_try(monkeypatch):
    monkeypatch.delattr(stack_size, "_step_seconds")
    assert quickest(*setting(epochs=1)) == MEMBERS


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**55), lambda: np.empty(2**55)])
def test_a_shortage_of_memory_is_known(allocate):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    assert is_shortage(caught.value)


def test_other_faults_are_none():
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2) @ torch.ones(3)
    assert not is_shortage(caught.value)
    assert not is_shortage(ValueError("out of memory"))
