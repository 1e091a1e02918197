"""Remarks that go with a verdict: what would overturn it, how much splits matter, and whether a unit carries it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.analysis.verdict.borrowing import Prior, with_prior
from ensemble_mtl.analysis.verdict.estimate import Estimate, estimate, moments, without_each_unit
from ensemble_mtl.analysis.verdict.judgement import Judgement, judge
from ensemble_mtl.analysis.verdict.pairs import Design
from ensemble_mtl.analysis.verdict.quantiles import fisher_f
from ensemble_mtl.analysis.verdict.terms import Terms
from ensemble_mtl.data.graph import FloatArray

INTERACTION_CONFIDENCE = 0.95


def overturning_sd(estimated: Estimate, judgement: Judgement, num_splits: int) -> FloatArray:
    """Standard deviation of the interaction of splits and subsets beyond which a verdict on few splits is void.

    With an interaction of sd x the mean over S splits has the variance ``se² + x² / S``, and the interval just reaches
    0 at ``x = √(S ((m / c2)² − se²))``.

    Returns:
        ``[...]`` in log units; NaN where the interval contains 0.
    """
    margin = (estimated.mean / judgement.critical) ** 2 - estimated.se**2
    return np.sqrt(np.where(margin > 0, num_splits * margin, np.nan))


@dataclass(frozen=True)
class Interaction:
    """How much the difference varies between splits beyond what seeds explain; arrays ``[...]`` in log units.

    Attributes:
        sd: ``√(max(0, MSB − MSW) / n)`` with n the harmonic mean of the members per split.
        limit: its upper 95 % limit ``√(max(0, MSB / F_.05(S − 1, Σ(n_s − 1)) − MSW) / n)``; from fewer than five splits
            only this is worth reading.
    """

    sd: FloatArray
    limit: FloatArray


def interaction(log_ratios: FloatArray) -> Interaction:
    """Interaction of splits and subsets in log ratios ``[..., S, n]`` (one-way random effects, unweighted means).

    NaN where there are fewer than two splits, or no split with two members.
    """
    count, means, variance = moments(log_ratios)
    splits, _, between = moments(means)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = splits / np.where(count > 0, 1 / count, 0.0).sum(-1)
        inner_df = np.where(count > 0, count - 1, 0).sum(-1)
        within = np.where(count > 1, (count - 1) * variance, 0.0).sum(-1) / np.where(inner_df > 0, inner_df, np.nan)
        between = size * between
        quantile = fisher_f(splits - 1, inner_df, 1 - INTERACTION_CONFIDENCE)
        sd = np.sqrt(np.maximum(0.0, between - within) / size)
        limit = np.sqrt(np.maximum(0.0, between / quantile - within) / size)
    return Interaction(sd, limit)


def hangs_on(
    log_ratios: FloatArray, design: Design, terms: Terms, judgement: Judgement, prior: Prior | None = None
) -> NDArray[np.bool_]:
    """Which units undo a gain or loss when they are left out.

    Args:
        log_ratios: ``[..., S, n]``.
        design: how the units vary.
        terms: as for the verdict; the degrees of freedom fall with the unit.
        judgement: verdicts ``[...]`` on all units.
        prior: spread borrowed from other comparisons, if the verdict used it.

    Returns:
        ``[..., units]`` in the order of ``estimate.units_of``; False where the verdict is neither gain nor loss. A unit
        without which there is no interval at all (the second member of a split) counts as undoing it.
    """
    undone = []
    for _, remaining in without_each_unit(log_ratios, design):
        reduced = estimate(remaining, design)
        again = judge(reduced if prior is None else with_prior(reduced, prior), terms)
        still = ((judgement.verdict == "gains") & (again.high < 0)) | ((judgement.verdict == "loses") & (again.low > 0))
        undone.append(~still)
    clear = np.isin(judgement.verdict, ("gains", "loses"))
    return np.stack(undone, axis=-1) & clear[..., None] if undone else np.zeros((*clear.shape, 0), dtype=np.bool_)
