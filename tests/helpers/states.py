"""Comparison of training states."""

from __future__ import annotations

from collections.abc import Collection

import torch

from ensemble_mtl.train.state import StackState

TIMES = ("seconds", "stack_seconds")
"""Tensors that two runs of the same members need not share."""


def assert_same_state(actual: StackState, expected: StackState, *, but: Collection[str] = TIMES) -> None:
    """Assert that two states are equal bit by bit, in all tensors but those named by ``but``."""
    assert actual.epoch == expected.epoch
    assert actual.tensors.keys() == expected.tensors.keys()
    for name in actual.tensors.keys() - set(but):
        assert actual[name].dtype == expected[name].dtype, name
        assert torch.equal(actual[name], expected[name]), name
