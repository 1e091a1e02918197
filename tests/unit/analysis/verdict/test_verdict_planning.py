from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ensemble_mtl.analysis.verdict.estimate import across_splits
from ensemble_mtl.analysis.verdict.planning import MAX_REPEATS, detectable_effect, repeats_needed
from ensemble_mtl.analysis.verdict.quantiles import student_t
from ensemble_mtl.analysis.verdict.terms import Terms

TERMS = Terms(comparisons=9)


def pilot(sd: float, repeats: int = 12) -> np.ndarray:
    pattern = np.array([-1.0, 1.0] * (repeats // 2))
    return sd * pattern[:, None] / pattern.std(ddof=1)


@pytest.mark.parametrize(("repeats", "effect"), [(5, 2.85), (8, 1.71), (12, 1.25), (24, 0.80), (48, 0.54)])
def test_detectable_effects_in_standard_deviations(repeats: int, effect: float) -> None:
    """Nine comparisons at .05 together; the values were computed when the procedure was designed."""
    df = np.array(repeats - 1.0)
    value = detectable_effect(student_t(df, 1 - 0.05 / 18), df, np.array(1 / math.sqrt(repeats)))
    assert float(value) == pytest.approx(effect, rel=0.01)  # they are given to two or three digits


def brute_force(sd: float, df: int, terms: Terms) -> int | None:
    bound = sd * math.sqrt(df / stats.chi2.ppf(0.2, df))
    for number in range(5, MAX_REPEATS + 1):
        quantiles = stats.t.ppf([1 - terms.next_level / (2 * terms.comparisons), 0.8], number - 1)
        if quantiles.sum() * bound / math.sqrt(number) <= math.log1p(terms.margin):
            return number
    return None


@pytest.mark.parametrize("sd", [0.005, 0.03, 0.08, 0.2, 0.23, 0.5])
@pytest.mark.parametrize("terms", [TERMS, Terms(comparisons=75, look=2, margin=0.05)])
def test_needed_repeats_are_the_first_number_that_suffices(sd: float, terms: Terms) -> None:
    needed = float(repeats_needed(across_splits(pilot(sd)), terms))
    expected = brute_force(sd, 11, terms)
    assert needed == (math.inf if expected is None else expected)


def test_needed_repeats_of_many_comparisons_at_once() -> None:
    pilots = np.stack([pilot(sd) for sd in (0.03, 0.5, 0.08)])
    needed = repeats_needed(across_splits(pilots), TERMS)
    assert needed.tolist() == [brute_force(0.03, 11, TERMS), math.inf, brute_force(0.08, 11, TERMS)]


def test_without_spread_nothing_can_be_planned() -> None:
    assert np.isnan(repeats_needed(across_splits(np.zeros((12, 1))), TERMS))
    assert np.isnan(repeats_needed(across_splits(np.zeros((1, 1))), TERMS))


def test_without_a_margin_no_number_of_repeats_suffices() -> None:
    assert repeats_needed(across_splits(pilot(0.05)), Terms(comparisons=9, margin=0.0)) == math.inf
