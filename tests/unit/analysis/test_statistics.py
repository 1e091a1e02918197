from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ensemble_mtl.analysis import statistics
from ensemble_mtl.analysis.statistics import compare, holm, holm_corrected, pearson, ratio, spread


def by_seed(values: list[float] | np.ndarray, split: int = 0) -> dict[tuple[int, int], float]:
    return {(seed, split): float(value) for seed, value in enumerate(values)}


def test_spread_is_numpys_with_one_degree_of_freedom() -> None:
    values = [1.0, 2.0, 4.0, 9.0]
    found = spread(values)
    assert found.mean == pytest.approx(4.0)
    assert found.std == pytest.approx(math.sqrt(((3**2) + 2**2 + 0 + 5**2) / 3))
    assert found.sem == pytest.approx(stats.sem(values))
    low, high = stats.t.interval(0.95, 3, loc=4.0, scale=stats.sem(values))
    assert found.ci95 == pytest.approx((low, high))


def test_spread_of_one_value_has_no_deviation() -> None:
    assert spread([3.0]) == statistics.Spread(3.0, None, None, None, 1)


def test_spread_of_nothing_is_empty() -> None:
    assert spread([]) == statistics.Spread(None, None, None, None, 0)


@pytest.mark.parametrize("n", [3, 12])
def test_intervals_cover_the_true_mean_as_often_as_they_say(n: int) -> None:
    trials = 20_000
    samples = np.random.default_rng(0).normal(5.0, 2.0, size=(trials, n))
    mean, sem = samples.mean(axis=1), samples.std(axis=1, ddof=1) / math.sqrt(n)
    half = statistics.interval(0.0, 1.0, n)[1] * sem
    covered = np.mean(np.abs(mean - 5.0) <= half)
    # four standard errors of a share near 0.95 over the trials
    assert covered == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / trials))


def test_comparison_is_the_paired_t_test() -> None:
    random = np.random.default_rng(1)
    single, multi = random.normal(10, 1, 12), random.normal(9, 1, 12)
    found = compare(by_seed(multi), by_seed(single))
    reference = stats.ttest_rel(multi, single)
    assert found.p == pytest.approx(reference.pvalue)
    assert found.ci95 == pytest.approx(tuple(reference.confidence_interval()))
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(multi, single).pvalue)
    assert found.percent == pytest.approx(100 * (multi.mean() - single.mean()) / single.mean())
    difference = multi - single
    assert found.effect == pytest.approx(difference.mean() / difference.std(ddof=1))
    assert (found.pairs, found.units, found.variance) == (12, 12, "seeds on one split")


def test_only_members_of_equal_seed_and_split_are_compared() -> None:
    single = by_seed([10.0, 11.0, 12.0, 13.0, 14.0, 15.0])
    multi = {key: value - 1 for key, value in single.items() if key[0] != 2} | {(99, 0): 1000.0}
    found = compare(multi, single)
    assert found.pairs == 5
    assert found.difference == pytest.approx(-1.0)


@pytest.mark.parametrize("number", [0, 1, 2, 4])
def test_too_few_seeds_is_said(number: int) -> None:
    values = np.arange(number, dtype=float)
    found = holm_corrected([compare(by_seed(values - 100), by_seed(values))])[0]
    assert found.verdict == "too few seeds"
    assert found.p_holm is None


def test_verdicts_follow_sign_and_significance() -> None:
    noise = np.random.default_rng(2).normal(0, 0.1, 12)
    single = by_seed(np.full(12, 10.0))
    assert compare(by_seed(9 + noise), single).verdict == "gains"
    assert compare(by_seed(11 + noise), single).verdict == "loses"
    assert compare(by_seed(10 + noise - noise.mean()), single).verdict == "no evidence"


def test_equal_errors_are_no_evidence() -> None:
    same = by_seed([1.0] * 6)
    found = compare(same, same)
    assert (found.verdict, found.p, found.effect, found.p_wilcoxon) == ("no evidence", 1.0, None, None)


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e15])
def test_verdict_does_not_depend_on_the_unit(scale: float) -> None:
    random = np.random.default_rng(3)
    single, multi = random.normal(10, 1, 8), random.normal(8, 1, 8)
    plain, scaled = compare(by_seed(multi), by_seed(single)), compare(by_seed(scale * multi), by_seed(scale * single))
    assert scaled.p == pytest.approx(plain.p)
    assert scaled.percent == pytest.approx(plain.percent)


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


def test_each_split_counts_once() -> None:
    keys = [(seed, split) for seed in range(4) for split in range(6)]
    single = dict.fromkeys(keys, 10.0)
    multi = {(seed, split): 10.0 + split + 0.01 * seed for seed, split in keys}
    found = compare(multi, single, overlap=0.2)
    assert (found.pairs, found.units, found.variance) == (24, 6, "seeds and splits (6 splits)")
    std = np.std(np.arange(6.0), ddof=1)
    half = stats.t.ppf(0.975, 5) * std * math.sqrt(1 / 6 + 0.2)
    assert found.ci95 is not None
    assert found.ci95[1] - found.ci95[0] == pytest.approx(2 * half)


def test_few_splits_say_nothing_of_other_splits() -> None:
    single = {(seed, split): 10.0 for seed in range(6) for split in range(2)}
    multi = {(seed, split): 9.0 + 0.1 * seed + split for seed, split in single}
    found = compare(multi, single, overlap=0.2)
    assert (found.pairs, found.units, found.variance) == (12, 6, "seeds on 2 fixed splits")
    assert found.difference == pytest.approx(-0.25)


def test_ratio_propagates_deviations() -> None:
    single = [statistics.Spread(3.0, 0.3, None, None, 5), statistics.Spread(4.0, 0.4, None, None, 5)]
    found = ratio(single, statistics.Spread(3.5, 0.1, None, None, 5))
    assert found is not None
    assert found[0] == pytest.approx(2.0)
    assert found[1] == pytest.approx(2.0 * math.sqrt((0.5 / 7) ** 2 + (0.1 / 3.5) ** 2))


def test_ratio_agrees_with_simulation() -> None:
    random = np.random.default_rng(0)
    draws = (random.normal(3, 0.03, 50_000) + random.normal(4, 0.04, 50_000)) / random.normal(3.5, 0.05, 50_000)
    single = [statistics.Spread(3.0, 0.03, None, None, 5), statistics.Spread(4.0, 0.04, None, None, 5)]
    found = ratio(single, statistics.Spread(3.5, 0.05, None, None, 5))
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
