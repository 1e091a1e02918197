"""Holm's correction of the p-values of several tests, and the verdicts that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, TypeVar

import numpy as np


class SignificanceTest(Protocol):
    """A test with a p-value, and with a verdict that follows from the corrected p-value."""

    @property
    def p(self) -> float | None:
        """The p-value of this test alone; None if it has none."""

    @property
    def is_large_enough(self) -> bool:
        """Whether the test rests on enough values for a verdict."""

    def judged(self, p_holm: float | None) -> Self:
        """This test with the corrected p-value, and the verdict that follows from it."""


Test = TypeVar("Test", bound=SignificanceTest)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order of ``p_values`` (Holm 1979, Scand. J. Stat. 6, 65).

    The k-th smallest of m is multiplied by m − k + 1; the adjusted values never decrease with
    rank and never exceed 1. This bounds the chance of a single false finding in the study,
    whatever the dependence between the tests.
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    stepped = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors))
    adjusted = np.empty(len(p_values))
    adjusted[order] = stepped
    return [float(value) for value in adjusted]


def holm_corrected(tests: Sequence[Test]) -> list[Test]:
    """The tests with corrected p-values, and with verdicts that take all of them into account.

    Tests that rest on too few values are not counted, since they give no verdict.
    """
    p_values = {index: test.p for index, test in enumerate(tests) if test.p is not None and test.is_large_enough}
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [test.judged(adjusted.get(index)) for index, test in enumerate(tests)]
