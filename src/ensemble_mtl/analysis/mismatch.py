"""Do tasks gain less from being learned together where their curvatures differ more?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ensemble_mtl.analysis import rank_correlation
from ensemble_mtl.analysis.multiple_tests import holm_corrected
from ensemble_mtl.analysis.summary_rows import (
    ComparisonRow,
    CurvaturePair,
    Epoch,
    MismatchMeasure,
    MismatchPoint,
    MismatchRow,
)

MISMATCH: dict[MismatchMeasure, str] = {
    "gradient_cosine": "1 − gradient cosine", "energy_wasserstein": "energy-weighted Wasserstein-1",
    "wasserstein": "Wasserstein-1", "eigenvector_overlap": "1 − eigenvector overlap",
    "trace_difference": "difference of traces",
}  # fmt: skip
"""The measures of mismatch, in words; for a measure that is 1 for equal tasks it is 1 minus the measure."""
_ONE_IF_EQUAL = ("gradient_cosine", "eigenvector_overlap")


def mismatch_rows(
    comparisons: Sequence[ComparisonRow], pairs: Sequence[CurvaturePair], fraction: float
) -> tuple[MismatchRow, ...]:
    """One row per (measure, epoch), Holm-corrected over all of them.

    A point is a task in a multi-task subset. Its gain is the fall of its error against learning it alone, in per cent;
    its mismatch is the mean over its partners and over members. Points share tasks and single-task members, while the
    interval of the correlation takes them as independent; so it is rather too narrow than too wide.

    Args:
        comparisons: the comparisons of each task together with the task alone.
        pairs: the measures of each two tasks.
        fraction: the training fraction whose rows are taken.
    """
    compared = [row for row in comparisons if row.fraction == fraction]
    measured = [row for row in pairs if row.fraction == fraction]
    places = [(epoch, measure) for epoch in dict.fromkeys(row.epoch for row in measured) for measure in MISMATCH]
    points = [_points(compared, measured, *place) for place in places]
    correlations = [
        rank_correlation.spearman(
            np.array([point.mismatch for point in values], dtype=np.float64),
            np.array([point.gain_percent for point in values], dtype=np.float64),
        )
        for values in points
    ]
    return tuple(
        MismatchRow(measure=measure, epoch=epoch, fraction=fraction, values=values, correlation=correlation)
        for (epoch, measure), values, correlation in zip(places, points, holm_corrected(correlations), strict=True)
    )


def _points(
    compared: Sequence[ComparisonRow], measured: Sequence[CurvaturePair], epoch: Epoch, measure: MismatchMeasure
) -> tuple[MismatchPoint, ...]:
    """Gain and mismatch of each task in each multi-task subset, where both are defined."""
    points = []
    for row in compared:
        percent = row.against_alone.percent
        mismatch = _with_partners(measured, row, epoch, measure)
        if percent is not None and mismatch is not None:
            points.append(MismatchPoint(subset=row.subset, task=row.task, gain_percent=-percent, mismatch=mismatch))
    return tuple(points)


def _with_partners(
    measured: Sequence[CurvaturePair], compared: ComparisonRow, epoch: Epoch, measure: MismatchMeasure
) -> float | None:
    """Mean mismatch of the compared task with its partners; None unless the measure is defined for each of them."""
    means = [
        row.measure(measure).mean
        for row in measured
        if row.subset == compared.subset and row.epoch == epoch and compared.task in row.tasks
    ]
    defined = [mean for mean in means if mean is not None]
    if not defined or len(defined) < len(means):
        return None
    value = float(np.mean(defined))
    return 1 - value if measure in _ONE_IF_EQUAL else value
