"""Holm's correction on worked examples, and verdicts that it takes back."""

from __future__ import annotations

import numpy as np
import pytest

from ensemble_mtl.analysis.comparison import compare
from ensemble_mtl.analysis.multiple_tests import holm, holm_corrected


def by_seed(values: np.ndarray) -> dict[tuple[int, int], float]:
    return {(seed, 0): float(value) for seed, value in enumerate(values)}


def test_holm_on_a_worked_example() -> None:
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04; the last must not fall below 0.06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_never_exceeds_one() -> None:
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_correction_can_take_a_verdict_back() -> None:
    noise = np.array([-1.0, 1.0] * 4)
    weak = compare(by_seed(9.0 + noise), by_seed(np.full(8, 10.0)))
    assert 0.005 < (weak.p or 0) < 0.05
    assert weak.verdict == "gains"
    assert all(c.verdict == "no evidence" for c in holm_corrected([weak] * 10))


def test_comparisons_of_too_few_members_are_not_paid_for() -> None:
    noise = np.array([-1.0, 1.0] * 4)
    weak = compare(by_seed(9.0 + noise), by_seed(np.full(8, 10.0)))
    short = compare(by_seed(9.0 + noise[:3]), by_seed(np.full(3, 10.0)))
    corrected = holm_corrected([short, weak, short])
    assert [one.verdict for one in corrected] == ["too few seeds", "gains", "too few seeds"]
    assert [one.p_holm for one in corrected] == [None, weak.p, None]
