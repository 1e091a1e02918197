"""Paired comparisons: the errors of one ensemble minus those of another, over members of equal seed and split."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from ensemble_mtl.analysis.json_model import Count, Interval, JsonModel, Number
from ensemble_mtl.analysis.statistics import CONFIDENCE, MIN_UNITS, interval, sample_std, signed_rank_p, t_test_p
from ensemble_mtl.data.graph import FloatArray

Verdict = Literal["gains", "loses", "no evidence", "too few seeds"]
Unit = Literal["split", "seed"]
Key = tuple[int, int]
"""(seed, split) of a member."""


class Comparison(JsonModel):
    """Errors of a task in one ensemble minus those in a reference ensemble, over members of equal seed and split."""

    difference: Number
    """Mean difference in the unit of the metric, negative where the error is smaller than in the reference."""
    ci95: Interval
    """Ends of the 95 % confidence interval of the difference, in its unit; null for fewer than two units."""
    percent: Number
    """The mean difference in per cent of the reference's mean error over the same members; null if the latter is 0."""
    percent_ci95: Interval
    """Ends of the 95 % interval in per cent of the reference's mean error, which is taken as exact."""
    p: Number
    """Two-sided p-value of the paired t-test, before correction; null for fewer than two units."""
    p_wilcoxon: Number
    """Two-sided p-value of Wilcoxon's signed-rank test, which assumes no normality; it is not corrected."""
    p_holm: Number
    """p after Holm's correction over all comparisons of the list; null for fewer units than a verdict needs."""
    effect_size: Number
    """Cohen's d_z, the mean over the standard deviation of the differences, a pure number; null if they do not vary."""
    pairs: Count
    """Number of pairs of members of equal seed and split."""
    units: Count
    """Number of independent differences, from which the interval, the tests and the verdict are computed."""
    unit: Unit
    """The unit of independence: one difference per split (averaged over seeds) or per seed (averaged over splits)."""
    variance: str
    """The source of variance that the interval covers, in words."""
    verdict: Verdict
    """If p_holm is below 0.05, whether the task gains (its error is smaller than in the reference) or loses."""

    @property
    def is_large_enough(self) -> bool:
        """Whether there are at least :data:`MIN_UNITS` independent differences."""
        return self.units >= MIN_UNITS

    def judged(self, p_holm: float | None) -> Comparison:
        """This comparison with the corrected p-value, and the verdict that follows from it."""
        if not self.is_large_enough:
            return self.model_copy(update={"p_holm": None, "verdict": "too few seeds"})
        verdict: Verdict = "no evidence"
        if p_holm is not None and self.difference is not None and p_holm < 1 - CONFIDENCE:
            verdict = "gains" if self.difference < 0 else "loses"
        return self.model_copy(update={"p_holm": p_holm, "verdict": verdict})


def independent(differences: Mapping[Key, float]) -> tuple[FloatArray, Unit, str]:
    """Reduce matched differences to independent ones, and name the source of variance that is left in them.

    Members that share a split share its test graphs, so seeds × splits are not that many
    independent runs. With at least :data:`MIN_UNITS` splits, each split counts once, by its
    mean over seeds. With fewer, nothing can be concluded about other splits: each seed counts once,
    by its mean over the splits, and the interval covers only the variation between seeds.

    Returns:
        ``[units]`` differences; whether each stands for a split or a seed; and the source of variance in words.
    """
    splits = sorted({split for _, split in differences})
    if len(splits) >= MIN_UNITS:
        means = [np.mean([d for (_, s), d in differences.items() if s == split]) for split in splits]
        return np.array(means, dtype=np.float64), "split", f"seeds and splits ({len(splits)} splits)"
    seeds = sorted({seed for seed, _ in differences})
    complete = [seed for seed in seeds if all((seed, split) in differences for split in splits)]
    means = [np.mean([differences[seed, split] for split in splits]) for seed in complete]
    where = "one split" if len(splits) <= 1 else f"{len(splits)} fixed splits"
    return np.array(means, dtype=np.float64), "seed", f"seeds on {where}"


def compare(errors: Mapping[Key, float], reference: Mapping[Key, float], overlap: float = 0.0) -> Comparison:
    """Compare one task's errors in one ensemble with those in a reference, such as the single-task ensemble.

    Args:
        errors: error by (seed, split) of the ensemble's members.
        reference: error by (seed, split) of the reference's members; only keys that both have are compared.
        overlap: the number of test graphs over that of training graphs. Where differences stand for splits, their
            training parts overlap and the usual variance of the mean is too small; the sample variance is then
            multiplied by ``1/n + overlap`` instead of ``1/n`` (Nadeau & Bengio 2003, doi:10.1023/A:1024068626366).

    Returns:
        The comparison; ``p_holm`` and the verdict take only this comparison into account until
        :func:`ensemble_mtl.analysis.multiple_tests.holm_corrected` is applied to a whole list.
    """
    keys = sorted(set(errors) & set(reference))
    differences, unit, variance = independent({key: errors[key] - reference[key] for key in keys})
    n = len(differences)
    baseline = float(np.mean([reference[key] for key in keys])) if keys else 0.0
    if n < 2:
        return _without_tests(differences, baseline, len(keys), unit, variance)
    mean, std = float(differences.mean()), float(sample_std(differences))
    sem = std * math.sqrt(1 / n + (overlap if unit == "split" else 0.0))
    low, high = interval(mean, sem, n)
    scale = 100 / baseline if baseline else None
    p = t_test_p(mean, sem, n)
    return Comparison(
        difference=mean,
        ci95=(low, high),
        percent=None if scale is None else mean * scale,
        percent_ci95=None if scale is None else (low * scale, high * scale),
        p=p,
        p_wilcoxon=signed_rank_p(differences),
        p_holm=p,
        effect_size=mean / std if std else None,
        pairs=len(keys),
        units=n,
        unit=unit,
        variance=variance,
        verdict="no evidence",
    ).judged(p)


def _without_tests(differences: FloatArray, baseline: float, pairs: int, unit: Unit, variance: str) -> Comparison:
    """The comparison of a single difference ``[1]`` or of none ``[0]``, which has no interval and no p-values."""
    difference = float(differences[0]) if len(differences) else None
    return Comparison(
        difference=difference,
        ci95=None,
        percent=100 * difference / baseline if difference is not None and baseline else None,
        percent_ci95=None,
        p=None,
        p_wilcoxon=None,
        p_holm=None,
        effect_size=None,
        pairs=pairs,
        units=len(differences),
        unit=unit,
        variance=variance,
        verdict="too few seeds",
    )
