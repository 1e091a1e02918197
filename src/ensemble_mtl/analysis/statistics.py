"""Means with their intervals, and paired comparisons of multi-task against single-task members.

scipy is imported inside the functions that need it: importing ``scipy.stats`` takes half
a second, and most commands never come here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["gains", "loses", "no evidence", "too few seeds"]
Key = tuple[int, int]
"""(seed, split) of a member."""

CONFIDENCE = 0.95
MIN_UNITS = 5
"""Least number of independent differences for a verdict.

With n = 4 the sample standard deviation is itself uncertain by 1/√(2(n−1)) = 41 % and the t
quantile is 3.2; with 5, the number of runs that Sanyal 2018 compared, they are 35 % and 2.8.
Below that an interval is given where it exists, but nothing is concluded from it.
"""


@dataclass(frozen=True)
class Spread:
    """A sample mean and how sure it is; None where too few values leave it undefined.

    Attributes:
        mean: arithmetic mean.
        std: sample standard deviation (ddof 1).
        sem: standard error of the mean, ``std / √n``.
        ci95: t confidence interval of the mean.
        members: number n of values.
    """

    mean: float | None
    std: float | None
    sem: float | None
    ci95: tuple[float, float] | None
    members: int


@dataclass(frozen=True)
class Comparison:
    """Multi-task minus single-task error of one task, over matched members.

    Attributes:
        difference: mean difference; negative where the task gains from its partners.
        ci95: t interval of ``difference``.
        percent: ``difference`` relative to the single-task mean of the same pairs.
        percent_ci95: ``ci95`` in the same relation, the single-task mean taken as known.
        p: two-sided p-value of the paired t-test.
        p_wilcoxon: its companion without the assumption of normality.
        p_holm: ``p`` after Holm's correction over every comparison of the study.
        effect: Cohen's d_z, mean over standard deviation of the differences.
        pairs: matched members.
        units: independent differences that the interval rests on (see :func:`independent`).
        variance: the source of variance that the interval covers.
        verdict: what may be concluded.
    """

    difference: float | None
    ci95: tuple[float, float] | None
    percent: float | None
    percent_ci95: tuple[float, float] | None
    p: float | None
    p_wilcoxon: float | None
    p_holm: float | None
    effect: float | None
    pairs: int
    units: int
    variance: str
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        pairs = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return pairs


def spread(values: Sequence[float]) -> Spread:
    """Mean, sample standard deviation, standard error and interval of ``values`` (``[n]``)."""
    n = len(values)
    if n == 0:
        return Spread(None, None, None, None, 0)
    mean = float(np.mean(values))
    if n == 1:
        return Spread(mean, None, None, None, 1)
    std = float(np.std(values, ddof=1))
    sem = std / math.sqrt(n)
    return Spread(mean, std, sem, interval(mean, sem, n), n)


def interval(mean: float, sem: float, n: int) -> tuple[float, float]:
    """Two-sided 95 % t interval of a mean of ``n`` independent normal values."""
    half = t_quantile(n - 1) * sem
    return mean - half, mean + half


def t_quantile(degrees: float) -> float:
    """Of Student's t: half the width of a two-sided 95 % interval, in standard errors."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + CONFIDENCE / 2))


def welch(one: Spread | None, other: Spread | None) -> tuple[float, tuple[float, float], float] | None:
    """Difference of two means in per cent of the ``other``, its 95 % interval, and the p-value (Welch 1947).

    None where there are fewer than :data:`MIN_UNITS` members, or no spread.
    """
    from scipy.stats import ttest_ind_from_stats

    if not one or not other or one.mean is None or not other.mean or not one.std or not other.std:
        return None
    if min(one.members, other.members) < MIN_UNITS:
        return None
    parts = [(one.std**2 / one.members, one.members - 1), (other.std**2 / other.members, other.members - 1)]
    variance = math.fsum(part for part, _ in parts)
    half = t_quantile(variance**2 / math.fsum(part**2 / degrees for part, degrees in parts)) * math.sqrt(variance)
    difference, scale = one.mean - other.mean, 100 / other.mean
    found = ttest_ind_from_stats(one.mean, one.std, one.members, other.mean, other.std, other.members, equal_var=False)
    return difference * scale, ((difference - half) * scale, (difference + half) * scale), float(found.pvalue)


def ratio(numerator: Sequence[Spread], denominator: Spread) -> tuple[float, float | None] | None:
    """Sum of means over a mean, and its standard deviation by first-order propagation.

    Args:
        numerator: independent quantities that are summed.
        denominator: what the sum is divided by.

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


def independent(differences: Mapping[Key, float]) -> tuple[NDArray[np.float64], str]:
    """Reduce matched differences to independent ones, and name the variance they show.

    Members that share a split share its test graphs, so seeds × splits are not that many
    independent runs. With at least :data:`MIN_UNITS` splits, each split counts once, by its
    mean over seeds. With fewer, nothing can be said of other splits: each seed counts once,
    by its mean over the splits, and the interval covers the seeds alone.

    Returns:
        ``[units]`` differences, and the source of variance in words.
    """
    splits = sorted({split for _, split in differences})
    if len(splits) >= MIN_UNITS:
        means = [np.mean([d for (_, s), d in differences.items() if s == split]) for split in splits]
        return np.array(means, dtype=np.float64), f"seeds and splits ({len(splits)} splits)"
    seeds = sorted({seed for seed, _ in differences})
    whole = [seed for seed in seeds if all((seed, split) in differences for split in splits)]
    means = [np.mean([differences[seed, split] for split in splits]) for seed in whole]
    where = "one split" if len(splits) <= 1 else f"{len(splits)} fixed splits"
    return np.array(means, dtype=np.float64), f"seeds on {where}"


def compare(multi: Mapping[Key, float], single: Mapping[Key, float], overlap: float = 0.0) -> Comparison:
    """Compare one task's errors in a multi-task ensemble with those of its single-task one.

    Args:
        multi: error by (seed, split) of the multi-task members.
        single: the same of the single-task members; only common keys are compared.
        overlap: test over training graphs. Where splits are what varies, their training parts
            overlap and the naive variance is too small; it is then multiplied by
            ``1/n + overlap`` instead of ``1/n`` (Nadeau & Bengio 2003,
            doi:10.1023/A:1024068626366).

    Returns:
        The comparison; ``p_holm`` and the verdict are of this comparison alone until
        :func:`holm_corrected` has seen all of them.
    """
    keys = sorted(set(multi) & set(single))
    units, variance = independent({key: multi[key] - single[key] for key in keys})
    n = len(units)
    if n < 2:
        difference = float(units[0]) if n else None
        empty = Comparison(difference, None, None, None, None, None, None, None, len(keys), n, variance, "no evidence")
        baseline = float(np.mean([single[key] for key in keys])) if keys else 0.0
        percent = 100 * difference / baseline if difference is not None and baseline else None
        return _judged(replace(empty, percent=percent))
    across_splits = variance.startswith("seeds and splits")
    mean, std = float(units.mean()), float(units.std(ddof=1))
    sem = std * math.sqrt(1 / n + (overlap if across_splits else 0.0))
    low, high = interval(mean, sem, n)
    baseline = float(np.mean([single[key] for key in keys]))
    scale = 100 / baseline if baseline else None
    p = _p_value(mean, sem, n)
    comparison = Comparison(
        difference=mean,
        ci95=(low, high),
        percent=None if scale is None else mean * scale,
        percent_ci95=None if scale is None else (low * scale, high * scale),
        p=p,
        p_wilcoxon=_p_wilcoxon(units),
        p_holm=p,
        effect=mean / std if std else None,
        pairs=len(keys),
        units=n,
        variance=variance,
        verdict="no evidence",
    )
    return _judged(comparison)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the given order (Holm 1979, Scand. J. Stat. 6, 65).

    The k-th smallest of m is multiplied by m − k + 1; the adjusted values never decrease with
    rank and never exceed 1. This bounds the chance of a single false finding in the study,
    whatever the dependence between the comparisons.
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    stepped = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors))
    adjusted = np.empty(len(p_values))
    adjusted[order] = stepped
    return [float(value) for value in adjusted]


def holm_corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with ``p_holm`` and verdicts that take all of them into account.

    Comparisons with too few units take no part: no verdict will come of them.
    """
    tested = [i for i, c in enumerate(comparisons) if c.p is not None and c.units >= MIN_UNITS]
    adjusted = dict(zip(tested, holm([comparisons[i].p or 0.0 for i in tested]), strict=True))
    return [_judged(replace(c, p_holm=adjusted.get(i))) for i, c in enumerate(comparisons)]


def pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Pearson correlation of two columns ``[n]``, rows with NaN left out; None if undefined."""
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _judged(comparison: Comparison) -> Comparison:
    if comparison.units < MIN_UNITS:
        return replace(comparison, p_holm=None, verdict="too few seeds")
    p, difference = comparison.p_holm, comparison.difference
    if p is None or difference is None or p >= 1 - CONFIDENCE:
        return replace(comparison, verdict="no evidence")
    return replace(comparison, verdict="gains" if difference < 0 else "loses")


def _p_value(mean: float, sem: float, n: int) -> float:
    from scipy.special import stdtr

    if sem == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(n - 1, -abs(mean) / sem))


def _p_wilcoxon(units: NDArray[np.float64]) -> float | None:
    from scipy.stats import wilcoxon

    if not np.any(units):
        return None
    # exact where it is defined: scipy leaves the exact distribution by itself if there are ties or zeros
    return float(wilcoxon(units).pvalue)
