"""A comparison with its verdict and every number behind it."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

from ensemble_mtl.analysis.verdict.estimate import Unit
from ensemble_mtl.analysis.verdict.judgement import Verdict
from ensemble_mtl.analysis.verdict.pairs import Design, Key, Scope
from ensemble_mtl.analysis.verdict.terms import Terms

Interval = tuple[float, float]


class NewData(BaseModel):
    """Interval of the mean log ratio for new data of the same source (see ``judgement.new_data_interval``).

    Attributes:
        overlap: ``n_test / n_train``.
        interval: ends in log units.
        expected: whether the interval excludes 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    overlap: float
    interval: Interval
    expected: bool


class Comparison(BaseModel):
    """A task's errors in a multi-task ensemble relative to those of its single-task ensemble.

    All values are in log units: a mean of −0.105 is an error 10 % lower (:func:`percent`). None stands for what the
    repeats do not define.

    Attributes:
        verdict: what is concluded; None where no verdict may be given (see ``Setting``).
        within_margin: whether the difference is shown to be less than the margin; with gains or loses this reads
            "by less than 10 %".
        scope: what the interval holds for.
        design: what varies independently.
        mean: log of the ratio of geometric means; negative where the task gains.
        interval: simultaneous interval of ``mean``.
        new_data: interval for new data of the same source; None without splits to show it.
        se: standard error of ``mean``.
        df: its degrees of freedom.
        units: independent differences that it rests on.
        split_spread: standard deviation of the splits' mean log ratios.
        critical: half the width of ``interval`` in standard errors.
        critical_same: the one-sided critical value that equality within the margin was tested with.
        p: two-sided p-value of the t-test.
        p_adjusted: the same times the number of comparisons, at most 1; to be compared with ``level``.
        level: error rate of this look over all comparisons of the family.
        terms: what the family was declared with.
        pairs: matched members.
        splits: splits with a pair.
        seeds: distinct seeds with a pair.
        planned: repeats of the plan.
        dropped: (split, seed) without a pair.
        unused: pairs that a crossed design leaves out.
        complete: whether all planned members are done or given up.
        no_spread: whether all differences are equal, so that no test applies.
        hangs_on: units that undo a gain or loss when left out: (split, seed), None for all splits or all seeds.
        overturning_sd: interaction of splits and subsets beyond which a verdict on fewer than five splits is void.
        interaction_sd: its estimate from members within splits.
        interaction_limit: its upper 95 % limit.
        detectable_effect: smallest log ratio that would be called a gain with a probability of 80 %.
        repeats_needed: repeats to find an effect of the size of the margin at the next look; None if more than 500
            or undefined.
        arithmetic: ratio of the arithmetic means of the same errors, minus 1.
        borrowed_df: degrees of freedom borrowed from other comparisons of the task; 0 without that option.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict | None
    within_margin: bool
    scope: Scope
    design: Design
    mean: float | None
    interval: Interval | None
    new_data: NewData | None
    se: float | None
    df: float | None
    units: int
    split_spread: float | None
    critical: float | None
    critical_same: float | None
    p: float | None
    p_adjusted: float | None
    level: float
    terms: Terms
    pairs: int
    splits: int
    seeds: int
    planned: int
    dropped: tuple[Key, ...]
    unused: tuple[Key, ...]
    complete: bool
    no_spread: bool
    hangs_on: tuple[Unit, ...]
    overturning_sd: float | None
    interaction_sd: float | None
    interaction_limit: float | None
    detectable_effect: float | None
    repeats_needed: int | None
    arithmetic: float | None
    borrowed_df: float


def percent(log_ratio: float) -> float:
    """Change of the error in per cent that a log ratio stands for: ``100 (exp m − 1)``."""
    return 100 * math.expm1(log_ratio)
