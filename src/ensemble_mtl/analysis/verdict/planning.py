"""What a study can find: the effect that it detects with a power of 80 %, and the repeats that it would need."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ensemble_mtl.analysis.verdict.estimate import Estimate
from ensemble_mtl.analysis.verdict.judgement import MIN_UNITS
from ensemble_mtl.analysis.verdict.quantiles import chi_square, student_t
from ensemble_mtl.analysis.verdict.terms import Terms
from ensemble_mtl.data.graph import FloatArray

POWER = 0.8
MAX_REPEATS = 500
"""Beyond this number more repeats are no remedy: the spread between them is the problem."""


def detectable_effect(critical: FloatArray, df: FloatArray, se: FloatArray) -> FloatArray:
    """Smallest log ratio that is called a gain with a probability of 80 %: ``(c2 + t(df, .8)) se``.

    As a gain in per cent it is ``100 (1 − exp(−effect))``. The approximation by a shifted t is 1–7 % below the exact
    value of the non-central t at eight units or fewer.
    """
    return (critical + student_t(df, POWER)) * se


def repeats_needed(estimate: Estimate, terms: Terms) -> FloatArray:
    """Number of repeats after which an effect of the size of the margin would be found, at the next look.

    It is the smallest N with ``(t(N−1, 1 − a'/2K) + t(N−1, .8)) s_up / √N ≤ log(1 + margin)``, where a' is the level of
    the next look and ``s_up = s √(df / χ²_.2(df))`` the upper 80 % bound of the standard deviation s of a unit. With s
    itself the power would be some 74 % instead of 80, because s is uncertain and its error enters squared.

    Returns:
        ``[...]``; infinity above :data:`MAX_REPEATS`, NaN where there is no spread to plan with.
    """
    defined = np.isfinite(estimate.se) & ~estimate.no_spread
    df = np.where(defined, estimate.df, 1.0)
    bound = np.where(defined, estimate.unit_spread, 1.0) * np.sqrt(df / chi_square(df, 1 - POWER))
    factors = _factors(terms.next_level / terms.comparisons)
    with np.errstate(divide="ignore"):
        allowed = np.log1p(terms.margin) / bound
    # factors fall with N: the first place at which they are no larger than what is allowed
    place = np.searchsorted(-factors, -allowed, side="left")
    number = np.where(place < len(factors), place + float(MIN_UNITS), np.inf)
    return np.where(defined, number, np.nan)


@lru_cache(maxsize=64)
def _factors(level: float) -> FloatArray:
    """``[N]`` detectable effects in standard deviations of a unit, for N from :data:`MIN_UNITS` on."""
    numbers = np.arange(MIN_UNITS, MAX_REPEATS + 1, dtype=np.float64)
    factors = (student_t(numbers - 1, 1 - level / 2) + student_t(numbers - 1, POWER)) / np.sqrt(numbers)
    factors.setflags(write=False)
    return factors
