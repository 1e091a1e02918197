"""The table of the weightings that a study compares."""

from __future__ import annotations

from ensemble_mtl.analysis.summary import Summary
from ensemble_mtl.analysis.summary_rows import WeightingEffect
from ensemble_mtl.report.row_names import member_count, task_row_name
from ensemble_mtl.report.table import (
    ABSENT,
    Cell,
    Table,
    p_value,
    percent_interval,
    plus_minus,
    seconds,
    signed_percent,
)


def effects(summary: Summary) -> Table:
    """The test errors under every weighting against those under the first; no rows where the study has only one."""
    effects = summary.weighting_effects
    best = {_key(row): row for row in sorted(effects, key=lambda row: -(row.error.mean or float("inf")))}
    rows = tuple(_cells(summary, row, row is best[_key(row)] and row.error.mean is not None) for row in effects)
    first = summary.weightings[0]
    covers = "; ".join(sorted({row.against_first.variance for row in effects if row.against_first}))
    caption = (
        f"Test RMSE in scaled units, mean ± sample standard deviation; bold: lowest mean of the task. Change: against "
        f"{first}, matched by seed and split; negative: the task gains. Paired t-test, Holm-corrected over this table. "
        f"The interval covers {covers}. Time: training seconds per epoch and member, relative to those of {first}."
    )
    if any(row.error.members != row.planned for row in effects):
        caption += " (k/n): k of n planned members are in."
    if any(row.relative_seconds is not None and not row.same_conditions for row in effects):
        caption += " Not like for like: timed on different devices, or in stacks of different sizes."
    header = ("Task", "Weighting", "Test RMSE", "Change", "95 % interval", "p, Holm", "Verdict", "s/epoch", "Time")
    return Table("Weightings of the tasks", caption, header, rows)


def _key(row: WeightingEffect) -> tuple[object, ...]:
    return row.subset, row.fraction, row.task


def _cells(summary: Summary, row: WeightingEffect, best: bool) -> tuple[Cell, ...]:
    time = Cell() if row.relative_seconds is None else Cell(f"{row.relative_seconds:.2f}×", note=_timed(row))
    comparison = row.against_first
    verdict = comparison.verdict if comparison else ABSENT
    return (
        Cell(task_row_name(summary, row)),
        Cell(row.weighting),
        Cell(plus_minus(row.error.mean, row.error.std), best, member_count(row.error.members, row.planned)),
        Cell(signed_percent(comparison.percent if comparison else None)),
        Cell(percent_interval(comparison.percent_ci95 if comparison else None)),
        Cell(p_value(comparison.p_holm if comparison else None)),
        Cell(verdict, best=verdict in ("gains", "loses")),
        Cell(seconds(row.seconds_per_epoch)),
        time,
    )


def _timed(row: WeightingEffect) -> str:
    return "" if row.same_conditions else "(not like for like)"
