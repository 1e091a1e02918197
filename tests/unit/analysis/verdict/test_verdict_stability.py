from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.tolerances import ROUNDING
from scipy import stats

from ensemble_mtl.analysis.verdict.estimate import across_splits, estimate, on_fixed_splits
from ensemble_mtl.analysis.verdict.judgement import judge
from ensemble_mtl.analysis.verdict.stability import hangs_on, interaction, overturning_sd
from ensemble_mtl.analysis.verdict.terms import Terms

TERMS = Terms(comparisons=9)
RANDOM = np.random.default_rng(1)


@pytest.mark.parametrize("splits", [1, 3])
def test_an_interaction_of_the_overturning_size_just_undoes_the_verdict(splits: int) -> None:
    estimated = on_fixed_splits(-0.3 + 0.05 * RANDOM.standard_normal((splits, 6)))
    judgement = judge(estimated, TERMS)
    assert judgement.verdict == "gains"
    sd = float(overturning_sd(estimated, judgement, splits))
    widened = math.sqrt(float(estimated.se) ** 2 + sd**2 / splits)
    assert float(estimated.mean) + float(judgement.critical) * widened == pytest.approx(0.0, abs=ROUNDING)


def test_an_interval_with_zero_has_nothing_to_overturn() -> None:
    estimated = on_fixed_splits(0.05 * RANDOM.standard_normal((1, 12)))
    judgement = judge(estimated, TERMS)
    assert judgement.low < 0 < judgement.high
    assert np.isnan(overturning_sd(estimated, judgement, 1))


def test_the_interaction_is_that_of_a_one_way_analysis_of_variance() -> None:
    ratios = RANDOM.normal(0, 0.05, (6, 2)) + RANDOM.normal(0, 0.08, (6, 1))
    between = 2 * ratios.mean(1).var(ddof=1)
    within = ratios.var(1, ddof=1).mean()
    result = interaction(ratios)
    assert float(stats.f_oneway(*ratios).statistic) == pytest.approx(between / within)
    assert float(result.sd) == pytest.approx(math.sqrt((between - within) / 2), rel=ROUNDING)
    # scipy.stats and scipy.special agree to eight digits
    limit = math.sqrt((between / stats.f.ppf(0.05, 5, 6) - within) / 2)
    assert float(result.limit) == pytest.approx(limit, rel=1e-8)


def test_uneven_splits_count_by_the_harmonic_mean() -> None:
    ratios = np.array([[0.1, 0.3, np.nan, np.nan], [0.5, 0.6, 0.7, 0.8]])
    size = 2 / (1 / 2 + 1 / 4)
    within = (0.02 + 0.05) / (1 + 3)  # sums of squares over degrees of freedom
    between = size * np.var([0.2, 0.65], ddof=1)
    assert float(interaction(ratios).sd) == pytest.approx(math.sqrt((between - within) / size), rel=ROUNDING)


def test_splits_that_differ_less_than_seeds_have_an_interaction_of_zero() -> None:
    ratios = np.array([[-1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]])
    assert interaction(ratios).sd == 0
    assert interaction(ratios).limit == 0


@pytest.mark.parametrize("shape", [(1, 12), (12, 1), (0, 0)])
def test_without_splits_and_seeds_there_is_no_interaction_to_see(shape: tuple[int, int]) -> None:
    result = interaction(RANDOM.standard_normal(shape))
    assert np.isnan(result.sd)
    assert np.isnan(result.limit)


def test_the_repeats_that_a_verdict_hangs_on_are_those_that_undo_it() -> None:
    studies = RANDOM.normal(-0.07, 0.06, (200, 12, 1))
    judgement = judge(across_splits(studies), TERMS)
    undone = hangs_on(studies, "across splits", TERMS, judgement)
    assert undone.shape == (200, 12)
    assert 0 < undone.any(1).sum() < (judgement.verdict == "gains").sum()
    for study, word, row in zip(studies, judgement.verdict, undone, strict=True):
        for unit in range(12):
            rest = np.delete(study[:, 0], unit)
            half = stats.t.ppf(1 - 0.04 / 18, 10) * stats.sem(rest)
            assert row[unit] == (word == "gains" and rest.mean() + half >= 0)


def test_a_split_of_two_members_cannot_spare_either() -> None:
    ratios = -1 + 0.01 * RANDOM.standard_normal((4, 2))
    judgement = judge(on_fixed_splits(ratios), Terms(comparisons=1))
    assert judgement.verdict == "gains"
    assert hangs_on(ratios, "fixed splits", Terms(comparisons=1), judgement).all()


def test_a_crossed_verdict_is_checked_without_each_split_and_seed() -> None:
    ratios = -0.4 + 0.01 * RANDOM.standard_normal((6, 5))
    ratios[:, 2] += 0.35  # without this seed the verdict is clearer
    judgement = judge(estimate(ratios, "crossed"), TERMS)
    undone = hangs_on(ratios, "crossed", TERMS, judgement)
    assert undone.shape == (11,)
    assert not undone[6 + 2]
