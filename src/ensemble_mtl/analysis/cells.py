"""Test errors: one row per subset, fraction, task and metric."""

from __future__ import annotations

from collections.abc import Mapping

from ensemble_mtl.analysis import statistics
from ensemble_mtl.analysis.groups import Groups
from ensemble_mtl.analysis.summary_rows import METRICS, ErrorCell
from ensemble_mtl.study.plan import Subset


def error_cells(
    groups: Groups, planned: Mapping[tuple[Subset, float], int], units: Mapping[str, str]
) -> tuple[ErrorCell, ...]:
    """The test errors of every subset, fraction, task and metric; a cell without results has no mean.

    Args:
        groups: results by subset and fraction.
        planned: the number of planned members by subset and fraction.
        units: the physical unit of each task; empty if it has none.
    """
    cells = []
    for (subset, fraction), pairs in groups.items():
        for task in subset:
            for metric in METRICS:
                values = tuple(result.metrics[task]["test"][metric] for _, result in pairs)
                cell = ErrorCell(
                    subset=subset,
                    fraction=fraction,
                    task=task,
                    metric=metric,
                    unit="scaled" if metric.endswith("_scaled") else units[task],
                    planned=planned[subset, fraction],
                    error=statistics.spread(values),
                    values=values,
                    ids=tuple(member.id for member, _ in pairs),
                )
                cells.append(cell)
    return tuple(cells)
