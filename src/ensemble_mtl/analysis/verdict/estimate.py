"""Mean log ratio of errors with its standard error and degrees of freedom, for each design.

All functions take log ratios ``[..., S, n]`` (S splits, n members on each, NaN where there is no pair) and work on
leading axes at once, so that a simulation of thousands of studies runs through the code that judges a real one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.analysis.verdict.pairs import Design
from ensemble_mtl.data.graph import FloatArray, IntArray

ROUNDING = 1e-13
"""A standard error below this share of the largest difference is rounding of equal differences."""

Unit = tuple[int | None, int | None]
"""(split, member) indices of what counts as independent; None stands for all of them."""


@dataclass(frozen=True)
class Estimate:
    """A mean log ratio and how sure it is; every attribute is an array ``[...]``, NaN where it is undefined.

    Attributes:
        mean: unweighted mean m of the splits' means b_s.
        se: standard error of ``mean``.
        df: degrees of freedom of ``se``.
        units: number of independent differences that ``se`` rests on.
        split_spread: sample standard deviation of the splits' means b_s.
        no_spread: whether all differences are equal, so that no test applies.
        all_zero: whether all differences are exactly 0.
    """

    mean: FloatArray
    se: FloatArray
    df: FloatArray
    units: FloatArray
    split_spread: FloatArray
    no_spread: NDArray[np.bool_]
    all_zero: NDArray[np.bool_]

    @property
    def unit_spread(self) -> FloatArray:
        """Standard deviation of a single independent difference: ``se √units``."""
        return self.se * np.sqrt(self.units)


def moments(values: FloatArray, axis: int = -1) -> tuple[IntArray, FloatArray, FloatArray]:
    """Number, mean and sample variance (ddof 1) of the finite values along an axis.

    The mean of no values and the variance of fewer than two are NaN.
    """
    present = np.isfinite(values)
    count = present.sum(axis)
    filled = np.where(present, values, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = filled.sum(axis) / count
        squares = np.where(present, (filled - np.expand_dims(mean, axis)) ** 2, 0.0).sum(axis)
        variance = squares / (count - 1)
    return count, mean, np.where(count > 1, variance, np.nan)


def estimate(log_ratios: FloatArray, design: Design) -> Estimate:
    """The estimate of log ratios ``[..., S, n]`` under a design (see :func:`across_splits` and its neighbours)."""
    if design == "across splits":
        return across_splits(log_ratios)
    return on_fixed_splits(log_ratios) if design == "fixed splits" else crossed(log_ratios)


def across_splits(log_ratios: FloatArray) -> Estimate:
    """Each split counts once, by its mean b_s over members: ``se = sd(b) / √S``, ``df = S − 1``.

    It holds for another random split of the same data. In balanced data this is the nested analysis of variance, since
    the mean square between splits estimates S n Var(m) directly, whatever the interaction of splits and subsets.
    """
    _, means, _ = moments(log_ratios)
    splits, mean, variance = moments(means)
    with np.errstate(invalid="ignore", divide="ignore"):
        se = np.sqrt(variance / splits)
    return _estimate(log_ratios, mean, se, np.where(splits > 1, splits - 1.0, np.nan), splits.astype(np.float64))


def on_fixed_splits(log_ratios: FloatArray) -> Estimate:
    """The splits are taken as they are, and only members within a split vary.

    ``se² = Σ p_s`` with ``p_s = var_s / (n_s S²)`` and ``df = (Σ p_s)² / Σ p_s² / (n_s − 1)`` (Satterthwaite 1946,
    doi:10.2307/3002019). Undefined where some split has a single pair.
    """
    count, means, variance = moments(log_ratios)
    splits, mean, _ = moments(means)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(count > 0, variance / (count * splits[..., None] ** 2), 0.0)
        squared = share.sum(-1)
        quartic = np.where(count > 0, share**2 / (count - 1), 0.0).sum(-1)
        df = np.where(squared > 0, squared**2 / quartic, (count - 1.0).sum(-1))
    defined = (splits > 0) & np.isfinite(squared)
    se, df = (np.where(defined, value, np.nan) for value in (np.sqrt(squared), df))
    return _estimate(log_ratios, mean, se, df, count.sum(-1).astype(np.float64))


def crossed(log_ratios: FloatArray) -> Estimate:
    """Splits and seeds are crossed: a seed's initial values are the same on every split.

    With the mean squares of splits, seeds and the rest, ``Var(m) = max(MS_S + MS_n − MS_R, MS_S, MS_n) / (S n)`` and
    ``df = min(S, n) − 1``, which is conservative (Cochran's linear combination of mean squares, bounded below by each
    of its parts). The table must be complete; a NaN makes the estimate undefined.
    """
    num_splits, num_seeds = log_ratios.shape[-2:]
    mean = log_ratios.mean((-2, -1))
    by_split, by_seed = log_ratios.mean(-1), log_ratios.mean(-2)
    rest = log_ratios - by_split[..., :, None] - by_seed[..., None, :] + mean[..., None, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        ms_split = num_seeds * np.divide(((by_split - mean[..., None]) ** 2).sum(-1), num_splits - 1)
        ms_seed = num_splits * np.divide(((by_seed - mean[..., None]) ** 2).sum(-1), num_seeds - 1)
        ms_rest = np.divide((rest**2).sum((-2, -1)), (num_splits - 1) * (num_seeds - 1))
        variance = crossed_variance(ms_split, ms_seed, ms_rest, num_splits * num_seeds)
    units = np.full(mean.shape, float(min(num_splits, num_seeds)))
    return _estimate(log_ratios, mean, np.sqrt(variance), np.where(units > 1, units - 1, np.nan), units)


def crossed_variance(ms_split: FloatArray, ms_seed: FloatArray, ms_rest: FloatArray, cells: int) -> FloatArray:
    """Conservative variance of the mean of a crossed table with that many cells, from its mean squares."""
    return np.maximum(ms_split + ms_seed - ms_rest, np.maximum(ms_split, ms_seed)) / cells


def units_of(log_ratios: FloatArray, design: Design) -> tuple[Unit, ...]:
    """What may be left out, one at a time: splits, members within fixed splits, or splits and seeds."""
    num_splits, num_members = log_ratios.shape[-2:]
    splits: list[Unit] = [(split, None) for split in range(num_splits)]
    if design == "across splits":
        return tuple(splits)
    if design == "crossed":
        return (*splits, *((None, seed) for seed in range(num_members)))
    present = np.isfinite(log_ratios).reshape(-1, num_splits, num_members).any(0)
    return tuple((int(split), int(member)) for split, member in zip(*np.nonzero(present), strict=True))


def without_each_unit(log_ratios: FloatArray, design: Design) -> Iterator[tuple[Unit, FloatArray]]:
    """Every unit of the design, with the log ratios that remain when it is left out."""
    for split, member in units_of(log_ratios, design):
        if member is None and split is not None:
            remaining = np.delete(log_ratios, split, axis=-2)
        elif split is None and member is not None:
            remaining = np.delete(log_ratios, member, axis=-1)
        else:
            remaining = log_ratios.copy()
            remaining[..., split, member] = np.nan
        yield (split, member), remaining


def _estimate(log_ratios: FloatArray, mean: FloatArray, se: FloatArray, df: FloatArray, units: FloatArray) -> Estimate:
    _, means, _ = moments(log_ratios)
    _, _, variance = moments(means)
    largest = np.abs(np.where(np.isfinite(log_ratios), log_ratios, 0.0)).max((-2, -1), initial=0.0)
    return Estimate(
        mean=np.asarray(mean),
        se=np.asarray(se),
        df=np.asarray(df),
        units=np.asarray(units),
        split_spread=np.sqrt(variance),
        no_spread=np.asarray(se <= ROUNDING * largest),
        all_zero=np.asarray((largest == 0) & (units > 0)),
    )
