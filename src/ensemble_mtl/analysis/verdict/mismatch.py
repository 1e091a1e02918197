"""Does learning two tasks together cost more, the more their losses mismatch?

Pairs of tasks share tasks, so their points are not independent, and no interval of a correlation coefficient holds. The
test permutes what is exchangeable if there is no relation: the labels of the tasks (Mantel 1967; Dietz 1983,
doi:10.1093/sysbio/32.1.21).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ensemble_mtl.analysis.verdict.permutations import SAMPLED, relabelings
from ensemble_mtl.data.graph import FloatArray, IntArray

Answer = Literal["rising", "falling", "not shown", "cannot be shown"]

MIN_TASKS = 3
ROUNDING = 1e-9
"""Statistics that differ by less are equal: sums of ranks in another order."""


@dataclass(frozen=True)
class PairStudy:
    """Every pair of tasks of a study.

    Attributes:
        name: of the study.
        tasks: T names.
        log_ratios: ``[T, T]`` symmetric: mean of the two log ratios of the subset of both tasks, positive where
            learning together costs; NaN where the pair was not trained. The diagonal is not read.
        mismatches: ``[T, T]`` symmetric per measure (of one epoch), in an order that all studies share by name.
        shared: studies of the same data and tasks bear the same word here and are relabeled together, since they are no
            independent evidence; empty: the study is on its own.
    """

    name: str
    tasks: tuple[str, ...]
    log_ratios: FloatArray
    mismatches: Mapping[str, FloatArray]
    shared: str = ""


@dataclass(frozen=True)
class Relation:
    """The relation of mismatch and log ratio over pairs of tasks.

    Attributes:
        answer: "rising" where a larger mismatch goes with a larger error of learning together.
        p: two-sided p-value of the largest statistic over all measures and epochs; None without a statistic.
        smallest_p: smallest p-value that these studies can give, whatever the labels.
        alpha: error rate.
        measure: the measure with the largest statistic; None without one.
        statistics: per measure, ``Z = Σ (D_j − 1) rho_j`` over studies with D_j pairs.
        correlations: per measure, the rank correlation of every study; None where it is undefined.
        pooled: per measure, Z over the sum of ``D_j − 1``: the weighted mean of the rank correlations.
        studies: names of the studies that took part.
        tasks: their numbers of tasks T_j.
        left_out: per study, tasks that were left out because pairs of theirs have no result.
        relabelings: number of joint relabelings that were compared with.
        exact: whether these were all.
    """

    answer: Answer
    p: float | None
    smallest_p: float
    alpha: float
    measure: str | None
    statistics: dict[str, float]
    correlations: dict[str, tuple[float | None, ...]]
    pooled: dict[str, float]
    studies: tuple[str, ...]
    tasks: tuple[int, ...]
    left_out: tuple[tuple[str, ...], ...]
    relabelings: int
    exact: bool


def relation(studies: Sequence[PairStudy], *, alpha: float = 0.05, seed: int = 0) -> Relation:
    """Test whether mismatch and the log ratio of errors are related, over all measures and epochs at once.

    The statistic of a measure is ``Z = Σ_j (D_j − 1) rho_j`` with the rank correlation rho_j of study j over its
    ``D_j = T_j (T_j − 1) / 2`` pairs. Task labels of the mismatches are permuted within each study, and p is the share
    of relabelings whose largest ``|Z|`` over measures is at least the observed one. Up to 20,000 joint relabelings are
    enumerated; beyond that p is ``(1 + hits) / (1 + 9999)`` from a seeded sample (Phipson & Smyth 2010,
    doi:10.2202/1544-6115.1585). Studies of fewer than three tasks take no part.

    Args:
        studies: one, or a pool.
        alpha: error rate of the answer.
        seed: of the sample.
    """
    whole = [_without_gaps(study) for study in studies]
    used = [(study, names) for study, names in whole if len(study.tasks) >= MIN_TASKS]
    measures = sorted({measure for study, _ in used for measure in study.mismatches})
    tables = [_rank_tables(study, measures) for study, _ in used]
    groups = _groups([study for study, _ in used])
    drawn, exact = relabelings([len(used[group[0]][0].tasks) for group in groups], seed)
    number = len(drawn[0]) if drawn else 1
    permuted = np.zeros((len(measures), number))
    observed = np.zeros(len(measures))
    for group, rows in zip(groups, drawn, strict=True):
        for index in group:
            weight = len(tables[index][0]) - 1
            permuted += weight * _correlations(*tables[index], rows)
            observed += weight * _correlations(*tables[index], np.arange(len(used[index][0].tasks))[None])[:, 0]
    largest = np.abs(permuted).max(0, initial=0.0)
    p, smallest = _p_values(float(np.abs(observed).max(initial=0.0)), largest, exact)
    defined = any(table.any() and log_ratios.any() for log_ratios, table in tables)
    top = int(np.abs(observed).argmax()) if defined else None
    weights = [len(table[0]) - 1 for table in tables]
    return Relation(
        answer=_answer(p, smallest, alpha, None if top is None else float(observed[top])),
        p=None if top is None else p,
        smallest_p=smallest,
        alpha=alpha,
        measure=None if top is None else measures[top],
        statistics=dict(zip(measures, observed.tolist(), strict=True)),
        correlations=_by_measure(measures, tables),
        pooled={measure: float(z) / (sum(weights) or 1) for measure, z in zip(measures, observed, strict=True)},
        studies=tuple(study.name for study, _ in used),
        tasks=tuple(len(study.tasks) for study, _ in used),
        left_out=tuple(names for _, names in used),
        relabelings=number,
        exact=exact,
    )


def _answer(p: float, smallest: float, alpha: float, statistic: float | None) -> Answer:
    if smallest > alpha or statistic is None:
        return "cannot be shown"
    if p > alpha:
        return "not shown"
    return "rising" if statistic > 0 else "falling"


def _p_values(observed: float, permuted: FloatArray, exact: bool) -> tuple[float, float]:
    """The p-value, and the one that the largest statistic of all relabelings would have."""
    hits = int((permuted >= observed - ROUNDING).sum())
    if not exact:
        return (1 + hits) / (1 + len(permuted)), 1 / (1 + SAMPLED)
    ties = int((permuted >= permuted.max() - ROUNDING).sum())
    return hits / len(permuted), ties / len(permuted)


def _without_gaps(study: PairStudy) -> tuple[PairStudy, tuple[str, ...]]:
    """The study without tasks whose pairs are not all trained, since relabeling needs every pair of its tasks."""
    kept = list(range(len(study.tasks)))
    while len(kept) > 1:
        gaps = ~np.isfinite(study.log_ratios[np.ix_(kept, kept)]) & ~np.eye(len(kept), dtype=bool)
        if not gaps.any():
            break
        # the last of those with the largest number of gaps, so that the result does not depend on chance
        kept.pop(len(kept) - 1 - int(gaps.sum(0)[::-1].argmax()))
    chosen = np.ix_(kept, kept)
    reduced = PairStudy(
        name=study.name,
        tasks=tuple(study.tasks[task] for task in kept),
        log_ratios=study.log_ratios[chosen],
        mismatches={measure: values[chosen] for measure, values in study.mismatches.items()},
        shared=study.shared,
    )
    return reduced, tuple(task for task in study.tasks if task not in reduced.tasks)


def ranks(values: FloatArray) -> FloatArray:
    """``[n]`` ranks from 1; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: FloatArray = np.cumsum(counts) - (counts - 1) / 2
    return means[inverse]


def _groups(studies: Sequence[PairStudy]) -> list[list[int]]:
    """Indices of studies that are relabeled together."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, study in enumerate(studies):
        groups.setdefault((study.shared, study.tasks) if study.shared else (index,), []).append(index)
    return list(groups.values())


def _rank_tables(study: PairStudy, measures: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Standardised ranks of the log ratios ``[D]``, and of each measure as a symmetric table ``[measures, T, T]``.

    A measure that a study does not have for every pair, or that is constant, is 0 throughout and adds nothing.
    """
    upper = np.triu_indices(len(study.tasks), 1)
    tables = np.zeros((len(measures), len(study.tasks), len(study.tasks)))
    for table, measure in zip(tables, measures, strict=True):
        if measure in study.mismatches:
            table[upper] = _standardised(study.mismatches[measure][upper])
            table.T[upper] = table[upper]
    return _standardised(study.log_ratios[upper]), tables


def _standardised(values: FloatArray) -> FloatArray:
    """Ranks with mean 0 and length 1; zeros if a value is missing or all are equal."""
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        return np.zeros(len(values))
    centred = ranks(values) - (len(values) + 1) / 2
    standardised: FloatArray = centred / np.sqrt(centred @ centred)
    return standardised


def _correlations(log_ratios: FloatArray, tables: FloatArray, rows: IntArray) -> FloatArray:
    """Rank correlations ``[measures, N]`` of a study under N relabelings ``[N, T]`` of its mismatches."""
    first, second = np.triu_indices(rows.shape[1], 1)
    # measure by measure: all at once would take N times D numbers for each
    return (
        np.stack([table[rows[:, first], rows[:, second]] @ log_ratios for table in tables])
        if len(tables)
        else (np.zeros((0, len(rows))))
    )


def _by_measure(
    measures: Sequence[str], tables: Sequence[tuple[FloatArray, FloatArray]]
) -> dict[str, tuple[float | None, ...]]:
    entries: dict[str, tuple[float | None, ...]] = {}
    for index, measure in enumerate(measures):
        values = []
        for log_ratios, table in tables:
            upper = table[index][np.triu_indices(len(table[index]), 1)]
            values.append(float(upper @ log_ratios) if upper.any() and log_ratios.any() else None)
        entries[measure] = tuple(values)
    return entries
