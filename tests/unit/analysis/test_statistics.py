from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ensemble_mtl.analysis import statistics
from ensemble_mtl.analysis.statistics import MeanAndDeviation, Spread, pearson, ratio, sample_std, spread


def of(mean: float, std: float) -> MeanAndDeviation:
    return MeanAndDeviation(mean=mean, std=std, members=5)


def test_the_sample_deviation_divides_by_one_less_than_the_number() -> None:
    assert sample_std([1.0, 2.0, 4.0, 9.0]) == pytest.approx(math.sqrt((9 + 4 + 0 + 25) / 3))
    assert sample_std(np.array([[1.0, 5.0], [3.0, 5.0]]), axis=0).tolist() == [pytest.approx(math.sqrt(2)), 0.0]


def test_what_is_not_finite_is_undefined() -> None:
    found = spread([math.nan, 1.0, 2.0])
    assert (found.mean, found.std, found.sem, found.ci95, found.members) == (None, None, None, None, 3)


def test_spread_is_numpys_with_one_degree_of_freedom() -> None:
    values = [1.0, 2.0, 4.0, 9.0]
    found = spread(values)
    assert found.mean == pytest.approx(4.0)
    assert found.std == pytest.approx(math.sqrt(((3**2) + 2**2 + 0 + 5**2) / 3))
    assert found.sem == pytest.approx(stats.sem(values))
    low, high = stats.t.interval(0.95, 3, loc=4.0, scale=stats.sem(values))
    assert found.ci95 == pytest.approx((low, high))


def test_spread_of_one_value_has_no_deviation() -> None:
    assert spread([3.0]) == Spread(mean=3.0, std=None, sem=None, ci95=None, members=1)


def test_spread_of_nothing_is_empty() -> None:
    assert spread([]) == Spread(mean=None, std=None, sem=None, ci95=None, members=0)


@pytest.mark.parametrize("n", [3, 12])
def test_intervals_cover_the_true_mean_as_often_as_they_say(n: int) -> None:
    trials = 20_000
    samples = np.random.default_rng(0).normal(5.0, 2.0, size=(trials, n))
    mean, sem = samples.mean(axis=1), samples.std(axis=1, ddof=1) / math.sqrt(n)
    half = statistics.interval(0.0, 1.0, n)[1] * sem
    covered = np.mean(np.abs(mean - 5.0) <= half)
    # four standard errors of a share near 0.95 over the trials
    assert covered == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / trials))


def test_ratio_propagates_deviations() -> None:
    single = [of(3.0, 0.3), of(4.0, 0.4)]
    found = ratio(single, of(3.5, 0.1))
    assert found is not None
    assert found[0] == pytest.approx(2.0)
    assert found[1] == pytest.approx(2.0 * math.sqrt((0.5 / 7) ** 2 + (0.1 / 3.5) ** 2))


def test_ratio_agrees_with_simulation() -> None:
    random = np.random.default_rng(0)
    draws = (random.normal(3, 0.03, 50_000) + random.normal(4, 0.04, 50_000)) / random.normal(3.5, 0.05, 50_000)
    single = [of(3.0, 0.03), of(4.0, 0.04)]
    found = ratio(single, of(3.5, 0.05))
    # 2 %: sampling error of a deviation from 50,000 draws, and the second order left out
    assert found is not None
    assert found[1] == pytest.approx(draws.std(), rel=0.02)


def test_pearson_leaves_missing_labels_out() -> None:
    a, b = np.array([1.0, 2.0, np.nan, 4.0, 5.0]), np.array([2.0, 1.0, 3.0, 5.0, np.nan])
    assert pearson(a, b) == pytest.approx(np.corrcoef([1, 2, 4], [2, 1, 5])[0, 1])


def test_pearson_of_a_constant_is_undefined() -> None:
    assert pearson(np.ones(5), np.arange(5.0)) is None


def test_differences_of_spreads_are_welch_s() -> None:
    random = np.random.default_rng(3)
    one, other = random.normal(1.0, 0.1, 9), random.normal(1.1, 0.4, 12)
    found = statistics.welch(statistics.spread(one.tolist()), statistics.spread(other.tolist()))
    known = stats.ttest_ind(one, other, equal_var=False)
    interval = known.confidence_interval(0.95)
    assert found is not None
    percent, ci95, p = found
    assert percent == pytest.approx(100 * (one.mean() - other.mean()) / other.mean(), rel=1e-12)
    assert ci95 == pytest.approx([100 * end / other.mean() for end in (interval.low, interval.high)], rel=1e-9)
    assert p == pytest.approx(known.pvalue, rel=1e-9)
    few, many = statistics.spread([1.0, 2.0, 3.0, 4.0]), statistics.spread([1.0, 2.0, 3.0, 4.0, 5.0])
    assert statistics.welch(few, many) is statistics.welch(many, few) is statistics.welch(None, many) is None
    assert statistics.welch(many, many) is not None
