"""Paired comparisons against scipy's tests, and what counts as independent."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ensemble_mtl.analysis.comparison import compare
from ensemble_mtl.analysis.multiple_tests import holm_corrected


def by_seed(values: list[float] | np.ndarray, split: int = 0) -> dict[tuple[int, int], float]:
    return {(seed, split): float(value) for seed, value in enumerate(values)}


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
    assert found.effect_size == pytest.approx(difference.mean() / difference.std(ddof=1))
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
    assert (found.verdict, found.p, found.effect_size, found.p_wilcoxon) == ("no evidence", 1.0, None, None)


@pytest.mark.parametrize("scale", [1e-10, 1.0, 1e15])
def test_verdict_does_not_depend_on_the_unit(scale: float) -> None:
    random = np.random.default_rng(3)
    single, multi = random.normal(10, 1, 8), random.normal(8, 1, 8)
    plain, scaled = compare(by_seed(multi), by_seed(single)), compare(by_seed(scale * multi), by_seed(scale * single))
    assert scaled.p == pytest.approx(plain.p)
    assert scaled.percent == pytest.approx(plain.percent)


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
