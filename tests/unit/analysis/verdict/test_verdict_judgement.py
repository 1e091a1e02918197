from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.tolerances import ROUNDING
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ensemble_mtl.analysis.verdict.estimate import across_splits
from ensemble_mtl.analysis.verdict.judgement import is_decided, judge, new_data_interval
from ensemble_mtl.analysis.verdict.terms import Terms

NINE = Terms(comparisons=9)
PATTERN = np.array([-1.0, 1.0] * 6)[:, None] * math.sqrt(11 / 12)
"""Twelve differences of mean 0 and standard deviation 1."""


def verdict(mean: float, sd: float, terms: Terms = NINE, repeats: int = 12) -> str:
    return str(judge(across_splits(mean + sd * PATTERN[:repeats]), terms).verdict)


def test_critical_values_are_those_of_simultaneous_bonferroni_intervals() -> None:
    judgement = judge(across_splits(0.02 + 0.05 * PATTERN), NINE)
    c2, c1 = stats.t.ppf([1 - 0.04 / 18, 1 - 0.04 / 9], 11)
    # scipy.stats and scipy.special agree to eight digits
    assert (float(judgement.critical), float(judgement.critical_same)) == pytest.approx((c2, c1), rel=1e-8)
    half = c2 * 0.05 / math.sqrt(12)
    assert (float(judgement.low), float(judgement.high)) == pytest.approx((0.02 - half, 0.02 + half), rel=1e-8)


def test_words_are_read_off_the_interval() -> None:
    half = float(stats.t.ppf(1 - 0.04 / 18, 11)) * 0.05 / math.sqrt(12)
    assert verdict(-1.001 * half, 0.05) == "gains"
    assert verdict(1.001 * half, 0.05) == "loses"
    assert verdict(-0.999 * half, 0.05) == "undecided"


def test_same_is_two_one_sided_tests_against_the_margin() -> None:
    sd = 0.055
    limit = math.log(1.10) - float(stats.t.ppf(1 - 0.04 / 9, 11)) * sd / math.sqrt(12)
    assert limit > 0
    for sign in (-1, 1):
        assert verdict(sign * 0.999 * limit, sd) == "same"
        assert verdict(sign * 1.001 * limit, sd) == "undecided"
    assert verdict(0.0, sd, NINE.model_copy(update={"margin": 0.0})) == "undecided"


def test_a_gain_can_be_shown_to_be_small() -> None:
    assert verdict(-0.03, 0.01) == "gains"
    assert judge(across_splits(-0.03 + 0.01 * PATTERN), NINE).within_margin
    assert not judge(across_splits(-0.2 + 0.01 * PATTERN), NINE).within_margin


@given(st.floats(-0.3, 0.3), st.floats(1e-3, 0.3), st.integers(1, 75), st.integers(1, 3))
def test_the_adjusted_p_value_says_what_the_interval_says(mean: float, sd: float, comparisons: int, look: int) -> None:
    terms = Terms(comparisons=comparisons, look=look)
    judgement = judge(across_splits(mean + sd * PATTERN), terms)
    p = float(stats.ttest_1samp(mean + sd * PATTERN[:, 0], 0.0).pvalue)
    assert float(judgement.p) == pytest.approx(p, rel=1e-6, abs=1e-12)
    if abs(comparisons * p - terms.level) > 1e-6:  # the boundary itself is a matter of rounding
        assert (judgement.verdict in ("gains", "loses")) == (judgement.p_adjusted < terms.level)
    assert 0 < judgement.p_adjusted <= 1


@given(st.floats(-0.3, 0.3), st.floats(1e-3, 0.3))
def test_gains_and_losses_are_mirror_images(mean: float, sd: float) -> None:
    mirror = {"gains": "loses", "loses": "gains"}
    word = verdict(mean, sd)
    assert str(judge(across_splits(-(mean + sd * PATTERN)), NINE).verdict) == mirror.get(word, word)


def test_fewer_than_five_repeats_give_an_interval_and_no_verdict() -> None:
    few = judge(across_splits(-0.5 + 0.001 * PATTERN[:4]), NINE)
    assert few.verdict == "too few"
    assert few.high < 0
    assert verdict(-0.5, 0.001, repeats=6) == "gains"


def test_equal_differences_have_no_p_value() -> None:
    zero, equal = judge(across_splits(np.zeros((12, 1))), NINE), judge(across_splits(np.full((12, 1), -0.1)), NINE)
    assert (str(zero.verdict), str(equal.verdict)) == ("too few", "undecided")
    assert np.isnan([zero.p, equal.p, zero.p_adjusted, equal.p_adjusted, equal.low, equal.high]).all()


def test_more_comparisons_and_later_looks_widen_the_interval() -> None:
    estimated = across_splits(0.05 * PATTERN)
    widths = [
        float(judge(estimated, terms).high)
        for terms in (Terms(comparisons=1), NINE, Terms(comparisons=28), Terms(comparisons=28, look=2))
    ]
    assert widths == sorted(widths)
    assert len(set(widths)) == 4


def test_the_interval_for_new_data_is_that_of_nadeau_and_bengio() -> None:
    ratios = -0.05 + 0.05 * PATTERN
    estimated = across_splits(ratios)
    judgement = judge(estimated, NINE)
    low, high = new_data_interval(estimated, judgement, 0.15 / 0.70)
    half = judgement.critical * ratios.std(ddof=1) * math.sqrt(1 / 12 + 0.15 / 0.70)
    assert (float(low), float(high)) == pytest.approx((-0.05 - half, -0.05 + half), rel=ROUNDING)
    assert new_data_interval(estimated, judgement, 0.0)[0] == pytest.approx(float(judgement.low), rel=ROUNDING)


def test_decided_verdicts_stand() -> None:
    words = np.array(["gains", "loses", "same", "undecided", "too few"])
    np.testing.assert_array_equal(is_decided(words), [True, True, True, False, False])
