"""The effect of each weighting of the tasks on their errors, against the first weighting of the study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ensemble_mtl.analysis import statistics
from ensemble_mtl.analysis.comparison import Comparison, compare
from ensemble_mtl.analysis.groups import Pair, errors_by_key
from ensemble_mtl.analysis.multiple_tests import holm_corrected
from ensemble_mtl.analysis.statistics import MeanAndDeviation
from ensemble_mtl.analysis.summary_rows import COMPARED, WeightingEffect
from ensemble_mtl.study.plan import Member, Subset


@dataclass(frozen=True)
class _Ensemble:
    """The members of one subset and fraction under one weighting.

    Attributes:
        subset: the tasks that the members learn.
        fraction: the share of the training part that they are trained on.
        weighting: the short name of the weighting.
        planned: the number of planned members.
        pairs: the members with a result, each with its result.
    """

    subset: Subset
    fraction: float
    weighting: str
    planned: int
    pairs: tuple[Pair, ...]


def effect_rows(
    plan: Sequence[Member], pairs: Sequence[Pair], weightings: Sequence[str], overlap: float
) -> tuple[WeightingEffect, ...]:
    """One row per (subset, fraction, task, weighting); no rows unless several weightings are compared.

    Members are matched by seed and split, and Holm's correction is over all of the rows.

    Args:
        plan: every member of the study.
        pairs: the members with results, each with its result.
        weightings: the short names of the weightings, the main one first.
        overlap: the number of test graphs over that of training graphs (see
            :func:`ensemble_mtl.analysis.comparison.compare`).
    """
    if len(weightings) < 2:
        return ()
    places = [
        (task, ensemble, group[0])
        for group in _groups(plan, pairs, weightings)
        for task in group[0].subset
        for ensemble in group
    ]
    comparisons = [
        compare(errors_by_key(ensemble.pairs, task), errors_by_key(first.pairs, task), overlap / first.fraction)
        for task, ensemble, first in places
        if ensemble is not first
    ]
    corrected = iter(holm_corrected(comparisons))
    return tuple(
        _row(task, ensemble, first, None if ensemble is first else next(corrected)) for task, ensemble, first in places
    )


def _groups(plan: Sequence[Member], pairs: Sequence[Pair], weightings: Sequence[str]) -> Iterator[list[_Ensemble]]:
    """The ensembles of each multi-task subset and fraction, one per weighting."""
    together = [member for member in plan if len(member.subset) > 1]
    for subset, fraction in dict.fromkeys((member.subset, member.fraction) for member in together):
        planned = [member.weighting for member in together if (member.subset, member.fraction) == (subset, fraction)]
        results = [pair for pair in pairs if (pair[0].subset, pair[0].fraction) == (subset, fraction)]
        yield [
            _Ensemble(
                subset,
                fraction,
                name,
                planned.count(name),
                tuple(pair for pair in results if pair[0].weighting == name),
            )
            for name in weightings
        ]


def _row(task: str, ensemble: _Ensemble, first: _Ensemble, against_first: Comparison | None) -> WeightingEffect:
    """The row of one task in one ensemble, whose times are compared with those of the ``first`` weighting's."""
    error = statistics.spread(list(errors_by_key(ensemble.pairs, task).values()))
    seconds, reference = _seconds_per_epoch(ensemble), _seconds_per_epoch(first)
    conditions = {result.timed_as for _, result in (*ensemble.pairs, *first.pairs)}
    return WeightingEffect(
        subset=ensemble.subset,
        fraction=ensemble.fraction,
        task=task,
        weighting=ensemble.weighting,
        metric=COMPARED,
        planned=ensemble.planned,
        error=MeanAndDeviation(mean=error.mean, std=error.std, members=error.members),
        seconds_per_epoch=seconds,
        relative_seconds=seconds / reference if seconds is not None and reference else None,
        same_conditions=len(conditions) == 1,
        against_first=against_first,
    )


def _seconds_per_epoch(ensemble: _Ensemble) -> float | None:
    """Mean training time per epoch over the members, in seconds; None without members."""
    return statistics.spread([result.train_seconds / max(result.epochs, 1) for _, result in ensemble.pairs]).mean
