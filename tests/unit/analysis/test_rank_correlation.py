"""Spearman's ρ against scipy, its interval against its own claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ensemble_mtl.analysis.multiple_tests import holm_corrected
from ensemble_mtl.analysis.rank_correlation import MIN_POINTS, ranks, spearman


def columns(n: int, seed: int, slope: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=n)
    return x, slope * x + random.normal(size=n)


def test_equal_values_share_their_mean_rank() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 0.5, 3.0])).tolist() == [4.0, 2.0, 4.0, 1.0, 4.0]


@pytest.mark.parametrize("seed", range(5))
def test_rho_is_that_of_scipy_with_ties(seed: int) -> None:
    x, y = columns(12, seed, 1.0)
    x, y = np.round(x), np.round(y, 1)
    assert spearman(x, y).spearman == pytest.approx(stats.spearmanr(x, y).statistic, rel=1e-12)


def test_rows_with_nan_are_left_out() -> None:
    x, y = columns(12, 0)
    gaps = np.concatenate([x, [np.nan, 1.0]]), np.concatenate([y, [1.0, np.nan]])
    assert spearman(*gaps) == spearman(x, y)


@pytest.mark.parametrize("n", [9, 28])
def test_the_interval_holds_0_as_often_as_it_says(n: int) -> None:
    tries = 2000
    held = sum(low <= 0 <= high for low, high in (spearman(*columns(n, seed)).ci95 or (1, 1) for seed in range(tries)))
    # three binomial deviations, and one per cent for the normal approximation
    assert abs(held / tries - 0.95) < 3 * math.sqrt(0.05 * 0.95 / tries) + 0.01


def test_a_monotone_relation_is_told_with_its_sign() -> None:
    x = np.linspace(0, 3, 12)
    rising, falling = spearman(x, np.exp(x)), spearman(x, -(x**3))
    assert (rising.spearman, rising.verdict) == (pytest.approx(1.0), "rising")
    assert (falling.spearman, falling.verdict) == (pytest.approx(-1.0), "falling")
    assert rising.ci95 is not None
    assert 0.9 < rising.ci95[0] < rising.ci95[1] < 1
    assert falling.ci95 == pytest.approx((-rising.ci95[1], -rising.ci95[0]))


def test_few_points_support_no_conclusion_however_clear() -> None:
    x = np.arange(MIN_POINTS - 1.0)
    found = spearman(x, x)
    assert found.spearman == pytest.approx(1.0)
    assert found.verdict == "too few points"
    assert spearman(x[:3], x[:3]).ci95 is None
    assert spearman(x[:0], x[:0]).points == 0


def test_a_constant_column_correlates_with_nothing() -> None:
    found = spearman(np.ones(20), np.arange(20.0))
    assert (found.spearman, found.ci95, found.verdict) == (None, None, "no evidence")


def test_many_looks_are_paid_for() -> None:
    alone = next(found for seed in range(200) if 0.01 < ((found := spearman(*columns(12, seed))).p or 1) < 0.04)
    assert alone.verdict in ("rising", "falling")
    others = [spearman(*columns(12, seed)) for seed in range(1000, 1010)]
    short = spearman(np.arange(5.0), np.arange(5.0))
    corrected = holm_corrected([alone, *others, short])
    assert corrected[0].verdict == "no evidence"
    assert corrected[0].p_holm == pytest.approx(min(1.0, 11 * (alone.p or 0.0)), rel=0.3)
    assert corrected[-1].p_holm is None
