"""Means with their deviations and intervals, differences and ratios of means, correlations, p-values.

scipy is imported inside the functions that need it: importing ``scipy.stats`` takes half
a second, and most commands never come here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ensemble_mtl.analysis.json_model import Count, Interval, JsonModel, Number
from ensemble_mtl.data.graph import FloatArray

CONFIDENCE = 0.95
STD_DDOF = 1
"""Delta degrees of freedom of every standard deviation over members."""
MIN_UNITS = 5
"""The smallest number of independent values from which a verdict is drawn.

With n = 4 the sample standard deviation is itself uncertain by 1/√(2(n−1)) = 41 % and the t
quantile is 3.2; with 5, the number of runs that Sanyal 2018 compared, they are 35 % and 2.8.
Below that an interval is given where it exists, but nothing is concluded from it.
"""


class MeanAndDeviation(JsonModel):
    """A sample mean with its standard deviation, in the unit of the values."""

    mean: Number
    """Arithmetic mean; null without values."""
    std: Number
    """Sample standard deviation (ddof 1); null for fewer than two values."""
    members: Count
    """Number of values, one per member."""


class Spread(MeanAndDeviation):
    """A sample mean with its standard deviation, standard error and interval, in the unit of the values."""

    sem: Number
    """Standard error of the mean, std / √members; null for fewer than two values."""
    ci95: Interval
    """Ends of the 95 % confidence interval of the mean, by Student's t; null for fewer than two values."""


def sample_std(values: Sequence[float] | FloatArray, axis: int | None = None) -> Any:
    """Sample standard deviation (ddof 1) of two or more ``values``: along ``axis``, or over all values without it."""
    return np.asarray(values, dtype=np.float64).std(axis=axis, ddof=STD_DDOF)


def spread(values: Sequence[float]) -> Spread:
    """Mean, sample standard deviation, standard error and interval of ``values`` (``[n]``)."""
    n = len(values)
    if n == 0:
        return Spread(mean=None, std=None, sem=None, ci95=None, members=0)
    mean = float(np.mean(values))
    if n == 1:
        return Spread(mean=mean, std=None, sem=None, ci95=None, members=1)
    std = float(sample_std(values))
    sem = std / math.sqrt(n)
    return Spread(mean=mean, std=std, sem=sem, ci95=interval(mean, sem, n), members=n)


def interval(mean: float, sem: float, n: int) -> tuple[float, float]:
    """Two-sided 95 % t interval of a mean of ``n`` independent normal values with standard error ``sem``."""
    half = t_quantile(n - 1) * sem
    return mean - half, mean + half


def t_quantile(degrees: float) -> float:
    """Half the width of a two-sided 95 % interval by Student's t, in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + CONFIDENCE / 2))


class RelativeDifference(NamedTuple):
    """The difference of two means, relative to the second.

    Attributes:
        percent: the difference in per cent of the second mean.
        ci95: the 95 % interval in per cent; the second mean, by which it is divided, is taken as exact.
        p: two-sided p-value of Welch's t-test.
    """

    percent: float
    ci95: tuple[float, float]
    p: float


def welch(first: Spread | None, second: Spread | None) -> RelativeDifference | None:
    """The first mean minus the second, for independent samples of unequal variances (Welch 1947).

    Returns:
        The difference, or None where one sample has fewer than :data:`MIN_UNITS` members or no deviation, or where the
        second mean is 0.
    """
    from scipy.stats import ttest_ind_from_stats

    if not first or not second or first.mean is None or not second.mean or not first.std or not second.std:
        return None
    n, m = first.members, second.members
    if min(n, m) < MIN_UNITS:
        return None
    # each sample's share of the variance of the difference, with its degrees of freedom (Welch & Satterthwaite)
    parts = [(first.std**2 / n, n - 1), (second.std**2 / m, m - 1)]
    variance = math.fsum(part for part, _ in parts)
    half = t_quantile(variance**2 / math.fsum(part**2 / degrees for part, degrees in parts)) * math.sqrt(variance)
    difference, scale = first.mean - second.mean, 100 / second.mean
    test = ttest_ind_from_stats(first.mean, first.std, n, second.mean, second.std, m, equal_var=False)
    ends = (difference - half) * scale, (difference + half) * scale
    return RelativeDifference(difference * scale, ends, float(test.pvalue))


def ratio(numerator: Sequence[MeanAndDeviation], denominator: MeanAndDeviation) -> tuple[float, float | None] | None:
    """A sum of means divided by a mean, and its standard deviation by first-order propagation.

    Args:
        numerator: the independent quantities that are summed.
        denominator: the quantity that the sum is divided by.

    Returns:
        The ratio with its standard deviation (None where one of the spreads has none), or
        None where a mean is missing or the denominator is 0.
    """
    means = [part.mean for part in numerator]
    if not means or any(mean is None for mean in means) or not denominator.mean:
        return None
    total = math.fsum(mean for mean in means if mean is not None)
    value = total / denominator.mean
    stds = [part.std for part in numerator]
    if denominator.std is None or any(std is None for std in stds) or not total:
        return value, None
    variance = math.fsum(std**2 for std in stds if std is not None) / total**2
    return value, abs(value) * math.sqrt(variance + (denominator.std / denominator.mean) ** 2)


def pearson(a: FloatArray, b: FloatArray) -> float | None:
    """Pearson's r of two columns ``[n]``, in which rows with NaN are left out.

    Returns:
        r, or None for fewer than three rows or a column that does not vary.
    """
    complete = np.isfinite(a) & np.isfinite(b)
    a, b = a[complete], b[complete]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def t_test_p(mean: float, sem: float, n: int) -> float:
    """Two-sided p-value of the t-test that a mean of ``n`` independent normal values is 0."""
    from scipy.special import stdtr

    if sem == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(n - 1, -abs(mean) / sem))


def signed_rank_p(values: FloatArray) -> float | None:
    """Two-sided p-value of Wilcoxon's signed-rank test of ``[n]`` values against 0; None if all of them are 0."""
    from scipy.stats import wilcoxon

    if not np.any(values):
        return None
    # scipy takes the exact distribution, unless there are ties or zeros
    return float(wilcoxon(values).pvalue)
