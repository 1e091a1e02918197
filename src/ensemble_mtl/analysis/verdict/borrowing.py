"""Optional: comparisons of one task borrow spread from each other, which gives more power with few repeats.

This is an option and off by default. The spread of a task's log ratios is much the same in all subsets, since the
single-task ensemble is in each of them; yet each comparison estimates it from its few units alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ensemble_mtl.analysis.verdict.estimate import Estimate, moments
from ensemble_mtl.analysis.verdict.pairs import Design, Key, grid
from ensemble_mtl.data.graph import FloatArray

MAX_PRIOR_DF = 4.0
"""Bound of the borrowed degrees of freedom, so that comparisons of unequal spread stay within the error rate."""


@dataclass(frozen=True)
class Prior:
    """Spread that comparisons of a task have in common.

    Attributes:
        variance: ``[...]`` s0², mean of the comparisons' variances of a unit.
        df: ``[...]`` d0, degrees of freedom that are borrowed.
        correlation: ``[...]`` r2, mean squared correlation of the task's log ratios between comparisons.
    """

    variance: FloatArray
    df: FloatArray
    correlation: FloatArray


def prior(unit_log_ratios: FloatArray) -> Prior:
    """Common spread of the k comparisons of a task.

    ``d0 = min(4, max(0, df k / (1 + (k − 1) r2) − df))`` with ``df = U − 1``: k correlated variances are worth
    ``k / (1 + (k − 1) r2)`` independent ones, where r2 is the mean squared correlation, corrected for what chance
    gives, ``(r2 − 1/df) / (1 − 1/df)``, and kept within 0 and 1.

    Args:
        unit_log_ratios: ``[..., U, k]``, a column per comparison, complete, U ≥ 3.
    """
    units, number = unit_log_ratios.shape[-2:]
    df = units - 1.0
    centred = unit_log_ratios - unit_log_ratios.mean(-2, keepdims=True)
    products = np.swapaxes(centred, -1, -2) @ centred
    squares = np.diagonal(products, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = np.nan_to_num(products**2 / (squares[..., :, None] * squares[..., None, :]))
    pairs = number * (number - 1)
    off_diagonal = correlations.sum((-2, -1)) - np.diagonal(correlations, axis1=-2, axis2=-1).sum(-1)
    raw = off_diagonal / pairs if pairs else np.ones(squares.shape[:-1])
    correlation = np.clip((raw - 1 / df) / (1 - 1 / df), 0.0, 1.0)
    borrowed = np.clip(df * number / (1 + (number - 1) * correlation) - df, 0.0, MAX_PRIOR_DF)
    return Prior(squares.mean(-1) / df, borrowed, correlation)


def with_prior(estimated: Estimate, shared: Prior) -> Estimate:
    """The estimate with ``s'² = (d0 s0² + df s²) / (d0 + df)`` and ``df' = df + d0``.

    The form is that of moderated t statistics (Smyth 2004, doi:10.2202/1544-6115.1027); d0 is bounded and not estimated
    from how the variances scatter, because that is liberal with few units. Comparisons without spread stay as they are.
    """
    df = estimated.df + shared.df
    variance = (shared.df * shared.variance + estimated.df * estimated.unit_spread**2) / df
    se = np.sqrt(variance / estimated.units)
    usable = np.isfinite(se) & ~estimated.no_spread
    return replace(estimated, se=np.where(usable, se, estimated.se), df=np.where(usable, df, estimated.df))


def task_prior(log_ratios: Sequence[Mapping[Key, float]], design: Design) -> Prior | None:
    """Common spread of a task's comparisons, from the members that all of them have.

    Args:
        log_ratios: of each comparison, by (split, seed).
        design: splits as units, or members within fixed splits, which are centred on their split's mean.

    Returns:
        None where nothing can be borrowed: a single comparison, a crossed design, or fewer than three common units.
    """
    if len(log_ratios) < 2 or design == "crossed":
        return None
    common = set.intersection(*(set(ratios) for ratios in log_ratios))
    grids = [grid({key: ratios[key] for key in common}, design).values for ratios in log_ratios]
    columns = np.stack(grids, axis=-1)
    means = moments(columns, axis=-2)[1]
    if design == "across splits":
        units = means
    else:
        centred = columns - means[:, None]
        units = centred[np.isfinite(centred).all(-1)]
        if len(means) > 1:
            # centring on each split takes a degree of freedom per split, of which the function counts only the first
            units = units * np.sqrt((len(units) - 1) / max(1, len(units) - len(means)))
    return prior(units) if len(units) >= 3 else None
