"""The error of each task learned together with other tasks, against learning it alone."""

from __future__ import annotations

from ensemble_mtl.analysis.comparison import compare
from ensemble_mtl.analysis.groups import Groups, errors_by_key
from ensemble_mtl.analysis.multiple_tests import holm_corrected
from ensemble_mtl.analysis.summary_rows import COMPARED, ComparisonRow


def comparison_rows(groups: Groups, overlap: float) -> tuple[ComparisonRow, ...]:
    """Every multi-task subset against each of its tasks alone, Holm-corrected over all of them.

    Args:
        groups: results by subset and fraction.
        overlap: the number of test graphs over that of training graphs (see
            :func:`ensemble_mtl.analysis.comparison.compare`).
    """
    places, comparisons = [], []
    for (subset, fraction), pairs in groups.items():
        for task in subset:
            alone = groups.get(((task,), fraction))
            if len(subset) == 1 or alone is None:
                continue
            places.append((subset, fraction, task))
            # with a share of the training graphs there are fewer of them, so that the overlap is larger
            comparisons.append(compare(errors_by_key(pairs, task), errors_by_key(alone, task), overlap / fraction))
    return tuple(
        ComparisonRow(subset=subset, fraction=fraction, task=task, metric=COMPARED, against_alone=comparison)
        for (subset, fraction, task), comparison in zip(places, holm_corrected(comparisons), strict=True)
    )
