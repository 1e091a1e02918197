"""The tables of a summary, each of which can be shown on a terminal, in Markdown and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ensemble_mtl.analysis.summary import Summary, Task
from ensemble_mtl.analysis.summary_rows import ErrorCell, Metric, SubsetRow, WallClockRow
from ensemble_mtl.report import curvature_tables, weightings
from ensemble_mtl.report.row_names import member_count, subset_name, subset_row_name, task_row_name
from ensemble_mtl.report.table import (
    ABSENT,
    Cell,
    Table,
    p_value,
    percent_interval,
    plus_minus,
    readable,
    scientific,
    seconds,
    signed,
    signed_percent,
    to_rich,
)
from ensemble_mtl.study.plan import FIXED, Subset

if TYPE_CHECKING:
    from rich.console import Console


def show(summary: Summary, console: Console | None = None) -> None:
    """Print the main tables to ``console``, or else to the standard output."""
    from rich.console import Console

    console = console or Console()
    for table in terminal_tables(summary):
        console.print(to_rich(table))


def terminal_tables(summary: Summary) -> list[Table]:
    """The tables that fit a terminal: errors at the largest fraction, comparisons, times, cost and pairs of tasks."""
    first = fractions(summary)[0]
    tables = [errors(summary, "rmse_scaled", first), errors(summary, "rmse", first)]
    tables += [comparisons(summary), weightings.effects(summary), wall_clock(summary), cost(summary)]
    tables += [curvature_tables.pairs(summary, last=True), curvature_tables.mismatch(summary)]
    return [table for table in tables if table.rows]


def all_tables(summary: Summary) -> list[Table]:
    """Every table that has rows, in the order of the report."""
    tables = [table for fraction in fractions(summary) for table in error_tables(summary, fraction)]
    tables += [
        comparisons(summary),
        weightings.effects(summary),
        wall_clock(summary),
        cost(summary),
        curvature(summary),
    ]
    tables += [curvature_tables.pairs(summary), curvature_tables.mismatch(summary)]
    return [table for table in tables if table.rows]


def error_tables(summary: Summary, fraction: float) -> list[Table]:
    """Test errors in scaled units (Table 1 of Lupo Pasini 2022), then in physical ones."""
    metrics: tuple[Metric, ...] = ("rmse_scaled", "rmse", "mae")
    return [errors(summary, metric, fraction) for metric in metrics]


def errors(summary: Summary, metric: Metric, fraction: float) -> Table:
    """Test error of every subset (rows) on every task (columns)."""
    scaled = metric.endswith("_scaled")
    cells = {
        (cell.subset, cell.task): cell for cell in summary.cells if cell.metric == metric and cell.fraction == fraction
    }
    best = {task: _best([cell for (_, t), cell in cells.items() if t == task]) for task in summary.tasks}
    rows = []
    for subset in summary.subsets:
        row = [Cell(subset_name(subset))]
        for task in summary.tasks:
            cell = cells.get((subset, task))
            row.append(Cell() if cell is None else _error_cell(cell, subset == best[task], scaled))
        rows.append(tuple(row))
    name = metric.removesuffix("_scaled").upper()
    what = f"Test {name}, {_scale(summary) if scaled else 'physical units'}"
    share = "" if len(summary.fractions) == 1 else f", {fraction:.0%} of the training part"
    header = ("Trained", *(_column(task, info, scaled) for task, info in summary.tasks.items()))
    return Table(f"{what}{share}", _error_caption(summary), header, tuple(rows))


def wall_clock(summary: Summary) -> Table:
    """Training time of one member."""
    rows = tuple(
        (
            Cell(subset_row_name(summary, row)),
            Cell(seconds(row.mean_seconds, row.std_seconds), note=member_count(row.members, _planned(summary, row))),
            Cell(ABSENT if row.epochs_mean is None else f"{row.epochs_mean:.0f}"),
            Cell(ABSENT if row.num_parameters is None else f"{row.num_parameters:,}"),
            Cell(_range(row.stack_sizes) if row.stack_sizes else ABSENT),
            Cell(", ".join(row.devices) or ABSENT),
        )
        for row in summary.wall_clock
    )
    caption = f"Wall-clock of training one member: mean over members {over_stacks(summary.wall_clock)}."
    header = ("Trained", "Time", "Epochs", "Parameters", "Stack", "Device")
    return Table("Training wall-clock per member", caption, header, rows)


def over_stacks(rows: Sequence[WallClockRow]) -> str:
    """Words that say what the ± of the wall-clock ``rows`` is, or why there is none."""
    numbers = sorted({row.stacks for row in rows if row.std_seconds is not None})
    if not numbers:
        return (
            "without a deviation, since the members of a subset shared one stack and its clock (its time is divided "
            "evenly among them)"
        )
    alone = "; none where there was one stack" if any(row.stacks == 1 for row in rows) else ""
    return (
        f"± sample standard deviation over the {_range(numbers)} stacks (a stack's time is divided evenly among its "
        f"members){alone}"
    )


def cost(summary: Summary) -> Table:
    """One multi-task model against the single-task models that it replaces."""
    rows = tuple(
        (
            Cell(subset_row_name(summary, row)),
            Cell(seconds(row.multi_task_seconds)),
            Cell(seconds(row.single_task_seconds)),
            Cell(f"{readable(row.ratio, row.ratio_std)}×", note="" if row.same_conditions else "(not like for like)"),
            Cell(f"{row.multi_task_parameters:,}"),
            Cell(f"{row.single_task_parameters:,}"),
        )
        for row in summary.cost
    )
    caption = (
        "Time ratio: sum of the mean times of the single-task models over that of the multi-task model; above 1 the "
        "multi-task model is cheaper."
    )
    if any(row.ratio_std is not None for row in summary.cost):
        caption += " The deviation is propagated from those of the times, between stacks."
    if any(not row.same_conditions for row in summary.cost):
        caption += (
            " Not like for like: timed on different devices, in stacks of different sizes, or of several subsets."
        )
    header = ("Trained", "Time together", "Time alone", "Ratio", "Weights together", "Weights alone")
    return Table("Cost: one multi-task model against one model per task", caption, header, rows)


def comparisons(summary: Summary) -> Table:
    """Paired comparisons of each task's error, together against alone."""
    order = list(summary.tasks)
    compared = [(row, row.against_alone) for row in sorted(summary.comparisons, key=lambda row: order.index(row.task))]
    rows = tuple(
        (
            Cell(task_row_name(summary, row)),
            Cell(comparison.verdict, best=comparison.verdict in ("gains", "loses")),
            Cell(signed_percent(comparison.percent)),
            Cell(percent_interval(comparison.percent_ci95)),
            Cell(p_value(comparison.p_holm)),
            Cell(p_value(comparison.p_wilcoxon)),
            Cell(signed(comparison.effect_size)),
            Cell(str(comparison.units)),
        )
        for row, comparison in compared
    )
    covers = "; ".join(sorted({comparison.variance for _, comparison in compared}))
    caption = (
        "Test RMSE together minus alone, matched by seed and split, relative to alone; negative: the task gains. "
        "Paired t-test, Holm-corrected over all comparisons of the study; Wilcoxon's signed-rank test beside it, "
        f"uncorrected; d_z: mean over standard deviation of the differences. The interval covers {covers}. "
        f"Fewer than {summary.conventions.min_units} independent differences support no verdict."
    )
    header = ("Task", "Verdict", "Change", "95 % interval", "p, Holm", "p, Wilcoxon", "d_z", "n")
    return Table("Every comparison", caption, header, rows)


def curvature(summary: Summary) -> Table:
    """Trace and extreme Ritz values of each task's Hessian."""
    rows = tuple(
        (
            Cell(task_row_name(summary, row)),
            Cell(curvature_tables.snapshot(row)),
            Cell(plus_minus(row.trace_mean, row.trace_std)),
            Cell(scientific(row.trace_sem_mean)),
            Cell(scientific(row.eig_min_mean)),
            Cell(scientific(row.eig_max_mean)),
            Cell(str(row.members)),
        )
        for row in summary.curvature
    )
    caption = (
        "Hessian of each task's loss with respect to the shared parameters, heads held fixed, on the probe set. "
        "Trace: mean ± sample standard deviation (ddof 1) over members; error of estimate: mean standard error of one "
        "member's estimate; λ: mean smallest and largest Ritz value of Lanczos."
    )
    learned = dict.fromkeys(cell.task for cell in summary.cells if cell.error.members)
    if absent := [task for task in learned if all(row.task != task for row in summary.curvature)]:
        caption += f" None of {', '.join(absent)}: no graph of the probe set has a label; raise probes.graphs."
    header = ("Task", "Epoch", "Trace", "Error of estimate", "λ min", "λ max", "n")
    return Table("Curvature of the shared parameters", caption, header, rows)


def fractions(summary: Summary) -> list[float]:
    """Training fractions in falling order; the headlines refer to the first."""
    return sorted(summary.fractions, reverse=True)


def _best(cells: Sequence[ErrorCell]) -> Subset | None:
    """The subset with the lowest mean error; None where fewer than two subsets have a mean."""
    means = [(cell.error.mean, cell.subset) for cell in cells if cell.error.mean is not None]
    return min(means, key=lambda entry: entry[0])[1] if len(means) > 1 else None


def _error_cell(cell: ErrorCell, best: bool, scaled: bool) -> Cell:
    """Mean and deviation of a test error; in scaled units with powers of ten, as in Table 1 of Lupo Pasini 2022."""
    number = plus_minus if scaled else readable
    return Cell(number(cell.error.mean, cell.error.std), best, member_count(cell.error.members, cell.planned))


def _error_caption(summary: Summary) -> str:
    """The caption of every table of test errors."""
    numbers = {cell.error.members for cell in summary.cells}
    if not any(numbers):
        return "No member is in yet."
    span = _range(sorted(numbers))
    caption = f"Mean ± sample standard deviation (ddof 1) over {span} members, which differ in {_varies(summary)}. "
    if not summary.complete:
        caption += "(k/n): k of n planned members are in. "
    if summary.weightings != (FIXED,):
        caption += f"Multi-task members: weighting {summary.weightings[0]}. "
    caption += "Bold: lowest mean of the column; whether a difference means anything, the comparisons say."
    named = [f"{task}: {info.label}" for task, info in summary.tasks.items() if info.label != task]
    return f"{caption} {'; '.join(named)}." if named else caption


def _varies(summary: Summary) -> str:
    """Words for what members of one subset differ in."""
    return "seed only (one split)" if len(summary.splits) == 1 else f"seed and split ({len(summary.splits)} splits)"


def _scale(summary: Summary) -> str:
    """Words for the scaled units of errors."""
    normalize = summary.data.normalize
    how = {"minmax": "targets min-max scaled to [0, 1]", "standard": "targets standardised"}[normalize.method]
    return f"{how} over {'all graphs' if normalize.fit_on == 'all' else 'the training part'}"


def _column(task: str, info: Task, scaled: bool) -> str:
    """The heading of a task's column, with the unit where errors are in physical units."""
    return task if scaled or not info.unit else f"{task} ({info.unit})"


def _planned(summary: Summary, row: SubsetRow) -> int:
    """The number of planned members of the row's subset and fraction."""
    cells = (cell for cell in summary.cells if cell.subset == row.subset and cell.fraction == row.fraction)
    return next(cell.planned for cell in cells)


def _range(values: Sequence[int]) -> str:
    """``4`` or ``4–12`` for ``values`` in rising order."""
    return str(values[0]) if len(values) == 1 else f"{values[0]}–{values[-1]}"
