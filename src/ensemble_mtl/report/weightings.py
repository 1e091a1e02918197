"""The table of the weightings that a study compares."""

from __future__ import annotations

from typing import Any

from ensemble_mtl.report.table import Cell, Table, p_value, percent_interval, plus_minus, seconds, signed
from ensemble_mtl.study.plan import label

Row = dict[str, Any]


def effects(summary: dict[str, Any]) -> Table:
    """Every weighting against the first, task by task; without rows where only one was used."""
    # a summary from before there were weightings has none
    found: list[Row] = summary.get("weighting_effects", [])
    best = {_key(row): row for row in sorted(found, key=lambda row: -(row["mean"] or float("inf")))}
    rows = tuple(_cells(summary, row, row is best[_key(row)] and row["mean"] is not None) for row in found)
    first = summary["weightings"][0] if found else ""
    covers = "; ".join(sorted({row["variance"] for row in found if row["variance"]}))
    caption = (
        f"Test RMSE in scaled units, mean ± sample standard deviation; bold: lowest mean of the task. Change: against "
        f"{first}, matched by seed and split; negative: the task gains. Paired t-test, Holm-corrected over this table. "
        f"The interval covers {covers}. Time: training seconds per epoch and member, relative to those of {first}."
    )
    if any(row["members"] != row["planned"] for row in found):
        caption += " (k/n): k of n planned members are in."
    if any(row["relative_seconds"] is not None and not row["comparable"] for row in found):
        caption += " Not like for like: timed on different devices, or in stacks of different sizes."
    header = ("Task", "Weighting", "Test RMSE", "Change", "95 % interval", "p, Holm", "Verdict", "s/epoch", "Time")
    return Table("Weightings of the tasks", caption, header, rows)


def _key(row: Row) -> tuple[object, ...]:
    return (*row["subset"], row["fraction"], row["task"])


def _cells(summary: dict[str, Any], row: Row, best: bool) -> tuple[Cell, ...]:
    share = "" if len(summary["fractions"]) == 1 else f" at {row['fraction']:.0%}"
    count = "" if row["members"] == row["planned"] else f"({row['members']}/{row['planned']})"
    time = Cell() if row["relative_seconds"] is None else Cell(f"{row['relative_seconds']:.2f}×", note=_timed(row))
    return (
        Cell(f"{row['task']} in {label(row['subset'])}{share}"),
        Cell(row["weighting"]),
        Cell(plus_minus(row["mean"], row["std"]), best, count),
        Cell("–" if row["percent"] is None else f"{signed(row['percent'])} %"),
        Cell(percent_interval(row["percent_ci95"])),
        Cell("–" if row["p_holm"] is None else p_value(row["p_holm"])),
        Cell(row["verdict"] or "–", best=row["verdict"] in ("gains", "loses")),
        Cell(seconds(row["seconds_per_epoch"])),
        time,
    )


def _timed(row: Row) -> str:
    return "" if row["comparable"] else "(not like for like)"
