"""Spearman's rank correlation with its interval; unlike Pearson's it supposes no straight line."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal

import numpy as np

from ensemble_mtl.analysis.json_model import Count, Interval, JsonModel, Number
from ensemble_mtl.analysis.statistics import CONFIDENCE, pearson
from ensemble_mtl.data.graph import FloatArray

Sign = Literal["rising", "falling", "no evidence", "too few points"]

MIN_POINTS = 8
"""The smallest number of points from which a conclusion is drawn.

With fewer, only |ρ| > 0.7 could be distinguished from 0, and the normal approximation of atanh ρ is poor.
"""


class RankCorrelation(JsonModel):
    """Spearman's rank correlation of two columns, with its interval."""

    spearman: Number
    """Spearman's ρ, between −1 and 1, with mean ranks for ties; null if a column does not vary."""
    ci95: Interval
    """Ends of Fisher's 95 % interval of ρ, with the variance of Bonett & Wright 2000 (Psychometrika 65, 23)."""
    p: Number
    """Two-sided p-value of the test that ρ is 0, from the same normal approximation; null without an interval."""
    p_holm: Number
    """p after Holm's correction over all correlations of the list; null for fewer points than a verdict needs."""
    points: Count
    """Number of points."""
    verdict: Sign
    """The sign of ρ if p_holm is below 0.05 and 0 lies outside the interval; otherwise why there is no conclusion."""

    @property
    def is_large_enough(self) -> bool:
        """Whether there are at least :data:`MIN_POINTS` points."""
        return self.points >= MIN_POINTS

    def judged(self, p_holm: float | None) -> RankCorrelation:
        """This correlation with the corrected p-value, and the verdict that follows from it."""
        if not self.is_large_enough:
            return self.model_copy(update={"p_holm": None, "verdict": "too few points"})
        verdict: Sign = "no evidence"
        if p_holm is not None and p_holm < 1 - CONFIDENCE and self.ci95 and not self.ci95[0] <= 0 <= self.ci95[1]:
            verdict = "rising" if (self.spearman or 0.0) > 0 else "falling"
        return self.model_copy(update={"p_holm": p_holm, "verdict": verdict})


def spearman(first: FloatArray, second: FloatArray) -> RankCorrelation:
    """Spearman's ρ of two columns ``[n]`` with its interval; rows with NaN are left out.

    With ``z = atanh ρ`` and ``se² = (1 + ρ²/2) / (n − 3)`` the interval is tanh(z ± 1.96 se). At ρ = ±1, where z is
    infinite, z is taken of the largest |ρ| below 1 that n ranks without ties can have.
    """
    complete = np.isfinite(first) & np.isfinite(second)
    n = int(complete.sum())
    rho = pearson(ranks(first[complete]), ranks(second[complete]))
    if rho is None or n < 4:
        verdict: Sign = "too few points" if n < MIN_POINTS else "no evidence"
        return RankCorrelation(spearman=rho, ci95=None, p=None, p_holm=None, points=n, verdict=verdict)
    largest = 1 - 12 / (n**3 - n)
    clipped = min(max(rho, -largest), largest)
    z, se = math.atanh(clipped), math.sqrt((1 + clipped**2 / 2) / (n - 3))
    half = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * se
    p = math.erfc(abs(z) / se / math.sqrt(2))
    ends = math.tanh(z - half), math.tanh(z + half)
    return RankCorrelation(spearman=rho, ci95=ends, p=p, p_holm=p, points=n, verdict="no evidence").judged(p)


def ranks(values: FloatArray) -> FloatArray:
    """``[n]`` ranks of ``values``, counted from 1; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: FloatArray = np.cumsum(counts) - (counts - 1) / 2
    return means[inverse]
