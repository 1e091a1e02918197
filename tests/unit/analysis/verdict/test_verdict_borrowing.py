from __future__ import annotations

import numpy as np
import pytest
from helpers.tolerances import ROUNDING

from ensemble_mtl.analysis.verdict.borrowing import MAX_PRIOR_DF, prior, task_prior, with_prior
from ensemble_mtl.analysis.verdict.estimate import across_splits

RANDOM = np.random.default_rng(2)


def test_the_common_spread_by_hand() -> None:
    columns = RANDOM.normal(0, 0.1, (5, 3))
    columns += RANDOM.normal(0, 0.1, (5, 1))  # the single-task ensemble is in each of them
    squared = np.corrcoef(columns.T) ** 2
    mean_squared = (squared[0, 1] + squared[0, 2] + squared[1, 2]) / 3
    correlation = min(1.0, max(0.0, (mean_squared - 1 / 4) / (1 - 1 / 4)))
    shared = prior(columns)
    assert float(shared.correlation) == pytest.approx(correlation, rel=1e-10, abs=ROUNDING)
    assert float(shared.df) == pytest.approx(min(4.0, 4 * 3 / (1 + 2 * correlation) - 4), rel=1e-10)
    assert float(shared.variance) == pytest.approx(columns.var(0, ddof=1).mean(), rel=ROUNDING)


def test_a_single_comparison_borrows_nothing() -> None:
    column = RANDOM.normal(0, 0.1, (12, 1))
    shared = prior(column)
    assert shared.df == 0
    before = across_splits(column)
    after = with_prior(before, shared)
    assert float(after.se) == pytest.approx(float(before.se), rel=ROUNDING)
    assert after.df == before.df


def test_equal_comparisons_borrow_nothing_and_independent_ones_no_more_than_the_bound() -> None:
    column = RANDOM.normal(0, 0.1, (12, 1))
    assert float(prior(np.hstack([column] * 4)).df) == pytest.approx(0.0, abs=1e-10)
    assert prior(RANDOM.normal(0, 0.1, (12, 6))).df == MAX_PRIOR_DF


def test_variances_are_weighted_by_degrees_of_freedom() -> None:
    ratios = RANDOM.normal(0, 0.1, (7, 5, 1))
    shared = prior(np.moveaxis(ratios[..., 0], 0, 1))
    estimates = across_splits(ratios)
    after = with_prior(estimates, shared)
    variance = (shared.df * shared.variance + 4 * ratios[..., 0].var(1, ddof=1)) / (shared.df + 4)
    np.testing.assert_allclose(after.se, np.sqrt(variance / 5), rtol=ROUNDING)
    np.testing.assert_allclose(after.df, 4 + shared.df, rtol=ROUNDING)
    np.testing.assert_array_equal(after.mean, estimates.mean)


def test_comparisons_without_spread_stay_as_they_are() -> None:
    shared = prior(RANDOM.normal(0, 0.1, (5, 3)))
    equal = across_splits(np.full((5, 1), -0.1))
    after = with_prior(equal, shared)
    assert after.no_spread
    assert after.se == equal.se


def test_borrowing_needs_three_members_that_all_comparisons_have() -> None:
    first = {(repeat, repeat): float(value) for repeat, value in enumerate(RANDOM.normal(0, 0.1, 6))}
    second = {key: value + RANDOM.normal(0, 0.1) for key, value in first.items() if key[0] > 3}
    assert task_prior([first, second], "across splits") is None
    assert task_prior([first], "across splits") is None
    assert task_prior([first, first], "crossed") is None
    assert task_prior([first, {**first}], "across splits") is not None


def test_members_of_fixed_splits_are_centred_on_their_split() -> None:
    values = RANDOM.normal(0, 0.1, (2, 3, 6))
    plain, shifted = (
        [
            {(split, seed): float(column[split, seed] + shift * split) for split in range(3) for seed in range(6)}
            for column in values
        ]
        for shift in (0.0, 5.0)
    )
    first, second = task_prior(plain, "fixed splits"), task_prior(shifted, "fixed splits")
    assert first is not None
    assert second is not None
    assert float(first.variance) == pytest.approx(float(second.variance), rel=1e-9)  # 5 is fifty times the spread
    pooled = np.mean([column.var(1, ddof=1).mean() for column in values])
    assert float(first.variance) == pytest.approx(pooled, rel=ROUNDING)
