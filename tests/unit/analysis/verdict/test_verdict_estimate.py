from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.tolerances import ROUNDING
from scipy import stats

from ensemble_mtl.analysis.verdict.estimate import (
    across_splits,
    crossed,
    estimate,
    moments,
    on_fixed_splits,
    units_of,
    without_each_unit,
)

RANDOM = np.random.default_rng(0)


def close(actual: object, expected: object) -> None:
    np.testing.assert_allclose(actual, expected, rtol=ROUNDING, atol=ROUNDING)


def test_repeats_with_a_split_each_are_a_paired_t_test() -> None:
    ratios = RANDOM.normal(-0.1, 0.08, (12, 1))
    result = across_splits(ratios)
    reference = stats.ttest_1samp(ratios[:, 0], 0.0)
    close(result.mean / result.se, reference.statistic)
    assert (float(result.df), float(result.units)) == (reference.df, 12)
    close(result.unit_spread, ratios.std(ddof=1))
    close(result.split_spread, ratios.std(ddof=1))


def test_split_means_are_the_nested_analysis_of_variance() -> None:
    ratios = RANDOM.normal(0, 0.08, (6, 2))
    between = 2 * ((ratios.mean(1) - ratios.mean()) ** 2).sum() / 5  # mean square between splits, 5 degrees of freedom
    result = across_splits(ratios)
    close(result.se**2, between / ratios.size)
    close(result.mean, ratios.mean())
    assert result.df == 5


def test_seeds_on_one_split_are_a_paired_t_test() -> None:
    ratios = RANDOM.normal(0.1, 0.05, (1, 12))
    result = on_fixed_splits(ratios)
    close(result.mean / result.se, stats.ttest_1samp(ratios[0], 0.0).statistic)
    close(result.df, 11)
    close(result.unit_spread, ratios.std(ddof=1))


def test_two_fixed_splits_have_the_degrees_of_freedom_of_welch() -> None:
    first, second = RANDOM.normal(0, 0.05, 4), RANDOM.normal(0, 0.15, 8)
    ratios = np.full((2, 8), np.nan)
    ratios[0, :4], ratios[1] = first, second
    result = on_fixed_splits(ratios)
    # the mean of two means has half the standard error of their difference, and the same degrees of freedom
    difference = stats.ttest_ind(first, second, equal_var=False)
    close(result.df, difference.df)
    close(result.se, abs((first.mean() - second.mean()) / difference.statistic) / 2)
    close(result.mean, (first.mean() + second.mean()) / 2)
    assert result.units == 12


def test_a_fixed_split_with_a_single_member_has_no_standard_error() -> None:
    result = on_fixed_splits(np.array([[0.1, 0.2, 0.3], [0.4, np.nan, np.nan]]))
    close(result.mean, 0.3)
    assert np.isnan(result.se)
    assert np.isnan(result.df)


def test_crossed_designs_combine_mean_squares() -> None:
    table = RANDOM.normal(0, 1, (8, 4)) + RANDOM.normal(0, 1, (8, 1)) + RANDOM.normal(0, 1, (1, 4))
    grand, splits, seeds = table.mean(), table.mean(1), table.mean(0)
    ms_split = 4 * sum((mean - grand) ** 2 for mean in splits) / 7
    ms_seed = 8 * sum((mean - grand) ** 2 for mean in seeds) / 3
    rest = [table[i, j] - splits[i] - seeds[j] + grand for i in range(8) for j in range(4)]
    ms_rest = math.fsum(value**2 for value in rest) / 21
    result = crossed(table)
    close(result.se**2, max(ms_split + ms_seed - ms_rest, ms_split, ms_seed) / 32)
    assert (float(result.df), float(result.units)) == (3, 4)


def test_a_crossed_variance_is_never_below_that_of_splits_or_seeds() -> None:
    checkerboard = np.array([[1.0, -1.0], [-1.0, 1.0]]) + np.array([[0.1], [-0.1]])
    result = crossed(checkerboard)  # all of the variance but that of splits is in the rest
    close(result.se**2, 2 * 2 * 0.1**2 / 4)


@pytest.mark.parametrize("design", ["across splits", "fixed splits", "crossed"])
def test_many_studies_at_once_are_each_study_by_itself(design: str) -> None:
    ratios = RANDOM.normal(0, 0.1, (3, 2, 6, 4))
    together = estimate(ratios, design)  # type: ignore[arg-type]
    for place in np.ndindex(3, 2):
        alone = estimate(ratios[place], design)  # type: ignore[arg-type]
        for name in ("mean", "se", "df", "units", "split_spread", "no_spread", "all_zero"):
            close(getattr(together, name)[place], getattr(alone, name))


@pytest.mark.parametrize("design", ["across splits", "fixed splits", "crossed"])
def test_estimates_do_not_depend_on_the_order_of_repeats_and_turn_with_the_sign(design: str) -> None:
    ratios = RANDOM.normal(0.05, 0.1, (6, 4))
    first = estimate(ratios, design)  # type: ignore[arg-type]
    shuffled = estimate(ratios[RANDOM.permutation(6)][:, RANDOM.permutation(4)], design)  # type: ignore[arg-type]
    turned = estimate(-ratios, design)  # type: ignore[arg-type]
    for name in ("mean", "se", "df", "units", "split_spread"):
        close(getattr(shuffled, name), getattr(first, name))
    close(turned.mean, -first.mean)
    close(turned.se, first.se)


@pytest.mark.parametrize(("value", "zero"), [(0.0, True), (math.log(0.9), False)])
@pytest.mark.parametrize("design", ["across splits", "fixed splits", "crossed"])
def test_equal_differences_have_no_spread(design: str, value: float, zero: bool) -> None:
    result = estimate(np.full((5, 3), value), design)  # type: ignore[arg-type]
    assert result.no_spread
    assert bool(result.all_zero) is zero


def test_moments_leave_gaps_out() -> None:
    values = np.array([[1.0, 2.0, np.nan], [4.0, np.nan, np.nan], [np.nan, np.nan, np.nan]])
    count, mean, variance = moments(values)
    np.testing.assert_array_equal(count, [2, 1, 0])
    np.testing.assert_array_equal(mean, [1.5, 4.0, np.nan])
    np.testing.assert_array_equal(variance, [0.5, np.nan, np.nan])


def test_nothing_is_estimated_from_no_pairs() -> None:
    result = on_fixed_splits(np.zeros((0, 0)))
    assert np.isnan([result.mean, result.se, result.df]).all()
    assert result.units == 0
    assert not result.all_zero


@pytest.mark.parametrize(("design", "units"), [("across splits", 3), ("fixed splits", 5), ("crossed", 5)])
def test_each_unit_is_left_out_once(design: str, units: int) -> None:
    ratios = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, np.nan]])
    parts = dict(without_each_unit(ratios, design))  # type: ignore[arg-type]
    assert len(parts) == units
    assert tuple(parts) == units_of(ratios, design)  # type: ignore[arg-type]
    whole = np.nansum(ratios)
    for (split, member), remaining in parts.items():
        taken = ratios[slice(None) if split is None else split, slice(None) if member is None else member]
        close(np.nansum(remaining), whole - np.nansum(taken))
