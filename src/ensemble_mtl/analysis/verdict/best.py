"""Multiple comparisons with the best: which of many losses may be lowest, and which is shown to be near the lowest.

The method is Hsu's (1984, doi:10.1214/aos/1176346794) with Bonferroni's critical value, since partitions share blocks
and their losses are correlated and unequally spread. Arrays may have leading axes, a study in each entry.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.analysis.verdict.estimate import crossed_variance
from ensemble_mtl.analysis.verdict.pairs import Design
from ensemble_mtl.analysis.verdict.quantiles import student_t
from ensemble_mtl.data.graph import FloatArray


@dataclass(frozen=True)
class Losses:
    """Losses of P candidates, in log units, on units that have all of them.

    Attributes:
        blocks: one array ``[..., n_s, P]`` per split, where members vary within fixed splits; a single array
            ``[..., S, P]`` of split means where splits vary; a single ``[..., S, n, P]`` where both are crossed.
        design: how units vary.
    """

    blocks: tuple[FloatArray, ...]
    design: Design

    @property
    def mean(self) -> FloatArray:
        """``[..., P]`` unweighted mean of the splits' means."""
        if self.design == "crossed":
            return self.blocks[0].mean((-3, -2))
        mean: FloatArray = np.mean([block.mean(-2) for block in self.blocks], axis=0)
        return mean

    @property
    def units(self) -> int:
        """Number of independent units."""
        if self.design == "crossed":
            return min(self.blocks[0].shape[-3:-1])
        return sum(block.shape[-2] for block in self.blocks)

    @property
    def df(self) -> int:
        """Degrees of freedom of the variance of a difference."""
        return self.units - len(self.blocks)

    def variances(self, candidate: int) -> FloatArray:
        """``[..., P]`` squared standard errors of the differences of a candidate's mean to all means.

        Within fixed splits it is the pooled variance of the differences times ``Σ 1 / (n_s S²)``, which for split means
        (a single block) is their variance over U.
        """
        differences = [block[..., candidate, None] - block for block in self.blocks]
        if self.design == "crossed":
            return _crossed_variances(differences[0])
        squares = [((part - part.mean(-2, keepdims=True)) ** 2).sum(-2) for part in differences]
        weight = sum(1 / (part.shape[-2] * len(differences) ** 2) for part in differences)
        variances: FloatArray = np.sum(squares, axis=0) / self.df * weight
        return variances


def _crossed_variances(differences: FloatArray) -> FloatArray:
    num_splits, num_seeds = differences.shape[-3:-1]
    by_split, by_seed = differences.mean(-2), differences.mean(-3)
    mean = by_split.mean(-2)
    rest = differences - by_split[..., :, None, :] - by_seed[..., None, :, :] + mean[..., None, None, :]
    return crossed_variance(
        num_seeds * by_split.var(-2, ddof=1),
        num_splits * by_seed.var(-2, ddof=1),
        (rest**2).sum((-3, -2)) / ((num_splits - 1) * (num_seeds - 1)),
        num_splits * num_seeds,
    )


@dataclass(frozen=True)
class WithTheBest:
    """Every candidate against the best of the others; arrays ``[..., P]`` in log units.

    Attributes:
        critical: one-sided critical value ``c = t(df, 1 − a / (P − 1))``.
        mean: mean losses.
        lowest_excess: ``max over q of mean(L_p − L_q) − c se_pq``: how much worse than some candidate p is shown to be.
        bound: ``max over q of mean(L_p − L_q) + c se_pq``, at least 0: p is at most so much worse than the best.
        may_be_best: whether no candidate is shown to be better.
        within: whether p is shown to be within the margin of the best.
    """

    critical: float
    mean: FloatArray
    lowest_excess: FloatArray
    bound: FloatArray
    may_be_best: NDArray[np.bool_]
    within: NDArray[np.bool_]


def compare_with_the_best(losses: Losses, planned: int, level: float, margin: float) -> WithTheBest:
    """Multiple comparisons with the best.

    The chance that the set of those that may be best misses the best, and the chance that any candidate called within
    the margin is not, are each at most ``level``.

    Args:
        losses: of the candidates that have results.
        planned: candidates of the plan, at least two; those without results count as well.
        level: error rate of this look.
        margin: share of the best error by which a candidate may be worse.
    """
    critical = float(student_t(losses.df, 1 - level / (planned - 1)))
    mean = losses.mean
    lowest_excess, bound = np.empty_like(mean), np.empty_like(mean)
    for candidate in range(mean.shape[-1]):  # a row at a time: pairs of thousands of partitions do not fit into memory
        difference = mean[..., candidate, None] - mean
        half = critical * np.sqrt(losses.variances(candidate))
        lowest_excess[..., candidate] = (difference - half).max(-1)
        bound[..., candidate] = (difference + half).max(-1)
    return WithTheBest(critical, mean, lowest_excess, bound, lowest_excess <= 0, bound <= np.log1p(margin))


def against(losses: Losses, reference: int, critical: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Differences of all candidates' means to a reference's, with the ends of their simultaneous intervals."""
    difference = losses.mean - losses.mean[..., reference, None]
    half = critical * np.sqrt(losses.variances(reference))
    return difference, difference - half, difference + half
