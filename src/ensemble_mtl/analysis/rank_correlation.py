"""Rank correlation with its interval, for points too few and too oddly spread for a straight line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

from ensemble_mtl.analysis.statistics import CONFIDENCE, holm, pearson
from ensemble_mtl.data.graph import FloatArray

Sign = Literal["rising", "falling", "no evidence", "too few points"]

MIN_POINTS = 8
"""Least number of points for a conclusion.

Below it only |ρ| > 0.7 could be told from 0, and the normal approximation of atanh ρ is poor.
"""


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ of two columns; None where it is undefined.

    Attributes:
        spearman: ρ, with mean ranks for ties.
        ci95: Fisher interval, with the variance of Bonett & Wright 2000 (Psychometrika 65, 23).
        p: two-sided p-value that belongs to the interval.
        p_holm: ``p`` after Holm's correction over all correlations looked at together.
        points: number n of points.
        verdict: ``no evidence`` where the interval has 0, or ``p_holm`` is not below 5 %.
    """

    spearman: float | None
    ci95: tuple[float, float] | None
    p: float | None
    p_holm: float | None
    points: int
    verdict: Sign

    def to_json(self) -> dict[str, Any]:
        """The correlation as JSON values."""
        return {**asdict(self), "ci95": None if self.ci95 is None else list(self.ci95)}


def spearman(first: FloatArray, second: FloatArray) -> RankCorrelation:
    """ρ of two columns ``[n]``, rows with NaN left out.

    With ``z = atanh ρ`` and ``se² = (1 + ρ²/2) / (n − 3)`` the interval is tanh(z ± 1.96 se). At
    ρ = ±1, where z is infinite, the next value that n ranks without ties can take stands in.
    """
    both = np.isfinite(first) & np.isfinite(second)
    n = int(both.sum())
    rho = pearson(ranks(first[both]), ranks(second[both]))
    if rho is None or n < 4:
        return RankCorrelation(rho, None, None, None, n, "too few points" if n < MIN_POINTS else "no evidence")
    most = 1 - 12 / (n**3 - n)
    inner = min(max(rho, -most), most)
    z, se = math.atanh(inner), math.sqrt((1 + inner**2 / 2) / (n - 3))
    half = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * se
    p = math.erfc(abs(z) / se / math.sqrt(2))
    found = RankCorrelation(rho, (math.tanh(z - half), math.tanh(z + half)), p, p, n, "no evidence")
    return _judged(found)


def holm_corrected(found: Sequence[RankCorrelation]) -> list[RankCorrelation]:
    """The correlations with ``p_holm`` and verdicts that take all of them into account; short ones take no part."""
    tested = [i for i, one in enumerate(found) if one.p is not None and one.points >= MIN_POINTS]
    adjusted = dict(zip(tested, holm([found[i].p or 0.0 for i in tested]), strict=True))
    return [_judged(replace(one, p_holm=adjusted.get(i))) for i, one in enumerate(found)]


def ranks(values: FloatArray) -> FloatArray:
    """``[n]`` ranks from 1; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: FloatArray = np.cumsum(counts) - (counts - 1) / 2
    return means[inverse]


def _judged(one: RankCorrelation) -> RankCorrelation:
    if one.points < MIN_POINTS:
        return replace(one, p_holm=None, verdict="too few points")
    if one.p_holm is None or one.ci95 is None or one.p_holm >= 1 - CONFIDENCE or one.ci95[0] <= 0 <= one.ci95[1]:
        return replace(one, verdict="no evidence")
    return replace(one, verdict="rising" if (one.spearman or 0.0) > 0 else "falling")
