"""Simultaneous intervals, and the verdicts that are read off them; arrays ``[...]`` of comparisons at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.analysis.verdict.estimate import Estimate
from ensemble_mtl.analysis.verdict.quantiles import student_t, student_t_two_sided
from ensemble_mtl.analysis.verdict.terms import Terms
from ensemble_mtl.data.graph import FloatArray

Verdict = Literal["gains", "loses", "same", "undecided", "too few"]

MIN_UNITS = 5
"""Number of independent differences from which a verdict is given.

With 4 the sample standard deviation is itself uncertain by 1/√(2(n−1)) = 41 % and the t quantile is 3.2; with 5,
the number of runs that Sanyal 2018 compared, they are 35 % and 2.8. Below that an interval is printed where it exists.
"""


@dataclass(frozen=True)
class Judgement:
    """Intervals and verdicts of comparisons; every attribute is an array ``[...]``.

    Attributes:
        critical: half the width of the interval in standard errors, ``c2 = t(df, 1 − a / 2K)``.
        critical_same: ``c1 = t(df, 1 − a / K)``, for equality within the margin.
        low: lower end of the interval of the mean log ratio.
        high: upper end.
        p: two-sided p-value of the t-test; NaN without spread.
        p_adjusted: ``min(1, K p)``, to be compared with the level a.
        verdict: words of :data:`Verdict`.
        within_margin: whether the log ratio is shown to be smaller than the margin, whatever the verdict.
    """

    critical: FloatArray
    critical_same: FloatArray
    low: FloatArray
    high: FloatArray
    p: FloatArray
    p_adjusted: FloatArray
    verdict: NDArray[np.str_]
    within_margin: NDArray[np.bool_]

    @property
    def decided(self) -> NDArray[np.bool_]:
        """Whether the verdict stays as it is at later looks."""
        return is_decided(self.verdict)


def is_decided(verdict: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Whether verdicts stay as they are at later looks: gains, loses and same do."""
    return np.isin(verdict, ("gains", "loses", "same"))


def judge(estimate: Estimate, terms: Terms) -> Judgement:
    """Read verdicts off simultaneous Bonferroni intervals ``m ± c2 se``.

    Where the interval lies below 0 the task *gains*, above 0 it *loses*; else where ``|m| + c1 se < log(1 + margin)``
    the errors are the *same* within the margin (two one-sided tests, Schuirmann 1987, doi:10.1007/BF01068419), else the
    comparison is *undecided*. The chance of any false verdict among the K comparisons is at most a. With fewer than
    :data:`MIN_UNITS` independent differences, or if all of them are 0, there are *too few*. Equal differences other
    than 0 have no standard error to test with: the comparison is undecided and has no p-value.
    """
    defined = np.isfinite(estimate.se) & ~estimate.no_spread
    df, se = np.where(defined, estimate.df, np.nan), np.where(defined, estimate.se, np.nan)
    critical = student_t(df, 1 - terms.level / (2 * terms.comparisons))
    critical_same = student_t(df, 1 - terms.level / terms.comparisons)
    low, high = estimate.mean - critical * se, estimate.mean + critical * se
    p = student_t_two_sided(df, estimate.mean / se)
    within = np.abs(estimate.mean) + critical_same * se < np.log1p(terms.margin)
    few = (estimate.units < MIN_UNITS) | ~np.isfinite(estimate.se) | estimate.all_zero
    words = np.select([few, high < 0, low > 0, within], ["too few", "gains", "loses", "same"], "undecided")
    return Judgement(critical, critical_same, low, high, p, np.minimum(1.0, terms.comparisons * p), words, within)


def new_data_interval(estimate: Estimate, judgement: Judgement, overlap: float) -> tuple[FloatArray, FloatArray]:
    """Interval of the mean log ratio for new data of the same source.

    ``m ± c2 √(se² + sd(b)² n_test / n_train)``, for independent splits ``m ± c2 sd(b) √(1/S + n_test/n_train)`` (Nadeau
    & Bengio 2003, doi:10.1023/A:1024068626366): splits of the same data share most of their training graphs, so their
    spread alone does not show how results differ between data sets. It is conservative here, since the correction is
    applied to the whole spread and not only to the part that comes from splits.

    Args:
        estimate: mean and spread over splits.
        judgement: critical values.
        overlap: ``n_test / n_train``, counted in labels of the task.
    """
    half = judgement.critical * np.sqrt(estimate.se**2 + overlap * estimate.split_spread**2)
    return estimate.mean - half, estimate.mean + half
