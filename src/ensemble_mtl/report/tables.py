"""The tables of a summary; each becomes terminal text, Markdown and a part of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ensemble_mtl.report import curvature_tables, weightings
from ensemble_mtl.report.table import (
    Cell,
    Table,
    p_value,
    percent_interval,
    plus_minus,
    readable,
    scientific,
    seconds,
    signed,
    to_rich,
)
from ensemble_mtl.study.plan import label

if TYPE_CHECKING:
    from rich.console import Console

Summary = dict[str, Any]
Row = dict[str, Any]


def show(summary: Summary, console: Console | None = None) -> None:
    """Print the main tables to ``console``, or else to the standard output."""
    from rich.console import Console

    console = console or Console()
    for table in terminal_tables(summary):
        console.print(to_rich(table))


def terminal_tables(summary: Summary) -> list[Table]:
    """What fits a terminal: errors at the largest fraction, comparisons, times and cost."""
    first = fractions(summary)[0]
    tables = [errors(summary, "rmse_scaled", first), errors(summary, "rmse", first)]
    tables += [gains(summary), weightings.effects(summary), wall_clock(summary), cost(summary)]
    tables += [curvature_tables.pairs(summary, last=True), curvature_tables.mismatch(summary)]
    return [table for table in tables if table.rows]


def all_tables(summary: Summary) -> list[Table]:
    """Every table that applies, in the report's order."""
    tables = [table for fraction in fractions(summary) for table in error_tables(summary, fraction)]
    tables += [gains(summary), weightings.effects(summary), wall_clock(summary), cost(summary), curvature(summary)]
    tables += [curvature_tables.pairs(summary), curvature_tables.mismatch(summary)]
    return [table for table in tables if table.rows]


def error_tables(summary: Summary, fraction: float) -> list[Table]:
    """Test errors in scaled units (Table 1 of Lupo Pasini 2022), then in physical ones."""
    return [errors(summary, metric, fraction) for metric in ("rmse_scaled", "rmse", "mae")]


def errors(summary: Summary, metric: str, fraction: float) -> Table:
    """Test error of every subset (rows) on every task (columns)."""
    scaled = metric.endswith("_scaled")
    cells = {
        (tuple(cell["subset"]), cell["task"]): cell
        for cell in summary["cells"]
        if cell["metric"] == metric and cell["fraction"] == fraction
    }
    best = {task: _best([cell for (_, t), cell in cells.items() if t == task]) for task in summary["tasks"]}
    rows = []
    for subset in summary["subsets"]:
        row = [Cell(row_name(subset))]
        for task in summary["tasks"]:
            cell = cells.get((tuple(subset), task))
            row.append(Cell() if cell is None else _error_cell(cell, tuple(subset) == best[task], scaled))
        rows.append(tuple(row))
    name = metric.removesuffix("_scaled").upper()
    what = f"Test {name}, {_scale(summary) if scaled else 'physical units'}"
    share = "" if len(summary["fractions"]) == 1 else f", {fraction:.0%} of the training part"
    header = ("Trained", *(_column(task, info, scaled) for task, info in summary["tasks"].items()))
    return Table(f"{what}{share}", _error_caption(summary), header, tuple(rows))


def wall_clock(summary: Summary) -> Table:
    """Training time of one member."""
    rows = tuple(
        (
            Cell(_row_of(summary, row)),
            Cell(seconds(row["mean"], row["std"]), note=_count_note(row["members"], _planned(summary, row))),
            Cell("–" if row["epochs_mean"] is None else f"{row['epochs_mean']:.0f}"),
            Cell("–" if row["num_parameters"] is None else f"{row['num_parameters']:,}"),
            Cell("–" if row["stack_size"] is None else _range(row["stack_sizes"])),
            Cell(row["device"] or "–"),
        )
        for row in summary["wall_clock"]
    )
    caption = f"Wall-clock of training one member: mean over members {over_stacks(summary['wall_clock'])}."
    header = ("Trained", "Time", "Epochs", "Parameters", "Stack", "Device")
    return Table("Training wall-clock per member", caption, header, rows)


def over_stacks(rows: list[Row]) -> str:
    """What the ± of the wall-clock ``rows`` is, or why there is none."""
    numbers = sorted({row["stacks"] for row in rows if row["std"] is not None})
    if not numbers:
        return (
            "without a deviation, since the members of a subset shared one stack and its clock (its time is divided "
            "evenly among them)"
        )
    alone = "; none where there was one stack" if any(row["stacks"] == 1 for row in rows) else ""
    return (
        f"± sample standard deviation over the {_range(numbers)} stacks (a stack's time is divided evenly among its "
        f"members){alone}"
    )


def cost(summary: Summary) -> Table:
    """One multi-task model against the single-task models that it replaces."""
    rows = tuple(
        (
            Cell(_row_of(summary, row)),
            Cell(seconds(row["mtl_seconds"])),
            Cell(seconds(row["single_task_seconds"])),
            Cell(
                f"{readable(row['ratio'], row['std_ratio'])}×", note="" if row["comparable"] else "(not like for like)"
            ),
            Cell(f"{row['mtl_parameters']:,}"),
            Cell(f"{row['single_task_parameters']:,}"),
        )
        for row in summary["cost"]
    )
    caption = (
        "Time ratio: sum of the mean times of the single-task models over that of the multi-task model; above 1 the "
        "multi-task model is cheaper."
    )
    if any(row["std_ratio"] is not None for row in summary["cost"]):
        caption += " The deviation is propagated from those of the times, between stacks."
    if any(not row["comparable"] for row in summary["cost"]):
        caption += (
            " Not like for like: timed on different devices, in stacks of different sizes, or of several subsets."
        )
    header = ("Trained", "Time together", "Time alone", "Ratio", "Weights together", "Weights alone")
    return Table("Cost: one multi-task model against one model per task", caption, header, rows)


def gains(summary: Summary) -> Table:
    """Paired comparisons of each task's error, together against alone."""
    order = list(summary["tasks"])
    found = sorted(summary["gains"], key=lambda row: order.index(row["task"]))
    rows = tuple(
        (
            Cell(_task_in(summary, row)),
            Cell(row["verdict"], best=row["verdict"] in ("gains", "loses")),
            Cell("–" if row["percent"] is None else f"{signed(row['percent'])} %"),
            Cell(percent_interval(row["percent_ci95"])),
            Cell(p_value(row["p_holm"])),
            Cell(p_value(row["p_wilcoxon"])),
            Cell(signed(row["effect"])),
            Cell(str(row["units"])),
        )
        for row in found
    )
    covers = "; ".join(sorted({row["variance"] for row in found}))
    caption = (
        "Test RMSE together minus alone, matched by seed and split, relative to alone; negative: the task gains. "
        "Paired t-test, Holm-corrected over all comparisons of the study; Wilcoxon's signed-rank test beside it, "
        f"uncorrected; d_z: mean over standard deviation of the differences. The interval covers {covers}. "
        f"Fewer than {summary['confidence']['min_units']} independent differences support no verdict."
    )
    header = ("Task", "Verdict", "Change", "95 % interval", "p, Holm", "p, Wilcoxon", "d_z", "n")
    return Table("Every comparison", caption, header, rows)


def curvature(summary: Summary) -> Table:
    """Trace and extreme Ritz values of each task's Hessian."""
    rows = tuple(
        (
            Cell(_task_in(summary, row)),
            Cell(f"end ({row['epoch_mean']:.0f})" if row["epoch"] == "end" else str(row["epoch"])),
            Cell(plus_minus(row["trace_mean"], row["trace_std"])),
            Cell(scientific(row["trace_sem"])),
            Cell(scientific(row["eig_min_mean"])),
            Cell(scientific(row["eig_max_mean"])),
            Cell(str(row["members"])),
        )
        for row in summary["curvature"]
    )
    caption = (
        "Hessian of each task's loss with respect to the shared parameters, heads held fixed, on the probe set. "
        "Trace: mean ± sample standard deviation (ddof 1) over members; error of estimate: mean standard error of one "
        "member's estimate; λ: mean smallest and largest Ritz value of Lanczos."
    )
    learned = dict.fromkeys(cell["task"] for cell in summary["cells"] if cell["members"])
    if absent := [task for task in learned if all(row["task"] != task for row in summary["curvature"])]:
        caption += f" None of {', '.join(absent)}: no graph of the probe set has a label; raise probes.graphs."
    header = ("Task", "Epoch", "Trace", "Error of estimate", "λ min", "λ max", "n")
    return Table("Curvature of the shared parameters", caption, header, rows)


def fractions(summary: Summary) -> list[float]:
    """Training fractions, the largest (the one the headline speaks of) first."""
    return sorted(summary["fractions"], reverse=True)


def row_name(subset: list[str]) -> str:
    """``MTL, HCM`` or ``STL, H``, as Table 1 calls them."""
    return f"{'MTL' if len(subset) > 1 else 'STL'}, {label(subset)}"


def _best(cells: list[Row]) -> tuple[str, ...] | None:
    """The subset of the lowest mean; None where there is nothing to compare it with."""
    known = [cell for cell in cells if cell["mean"] is not None]
    return tuple(min(known, key=lambda cell: float(cell["mean"]))["subset"]) if len(known) > 1 else None


def _error_cell(cell: Row, best: bool, scaled: bool) -> Cell:
    shown = plus_minus if scaled else readable
    return Cell(shown(cell["mean"], cell["std"]), best, _count_note(cell["members"], cell["planned"]))


def _count_note(members: int, planned: int) -> str:
    return "" if members == planned else f"({members}/{planned})"


def _error_caption(summary: Summary) -> str:
    numbers = {cell["members"] for cell in summary["cells"]}
    if not any(numbers):
        return "No member is in yet."
    span = _range(sorted(numbers))
    caption = f"Mean ± sample standard deviation (ddof 1) over {span} members, which differ in {_varies(summary)}. "
    if not summary["complete"]:
        caption += "(k/n): k of n planned members are in. "
    if (names := summary.get("weightings", ["fixed"])) != ["fixed"]:
        caption += f"Multi-task members: weighting {names[0]}. "
    caption += "Bold: lowest mean of the column; whether a difference means anything, the comparisons say."
    named = [f"{task}: {info['label']}" for task, info in summary["tasks"].items() if info["label"] != task]
    return f"{caption} {'; '.join(named)}." if named else caption


def _varies(summary: Summary) -> str:
    return (
        "seed only (one split)" if len(summary["splits"]) == 1 else f"seed and split ({len(summary['splits'])} splits)"
    )


def _scale(summary: Summary) -> str:
    normalize = summary["data"]["normalize"]
    how = {"minmax": "targets min-max scaled to [0, 1]", "standard": "targets standardised"}[normalize["method"]]
    return f"{how} over {'all graphs' if normalize['fit_on'] == 'all' else 'the training part'}"


def _column(task: str, info: Row, scaled: bool) -> str:
    unit = f" ({info['unit']})" if info["unit"] and not scaled else ""
    return task if info["label"] == task and not unit else f"{task}{unit}"


def _row_of(summary: Summary, row: Row) -> str:
    return row_name(row["subset"]) + _share(summary, row)


def _task_in(summary: Summary, row: Row) -> str:
    where = f"in {label(row['subset'])}" if len(row["subset"]) > 1 else "alone"
    return f"{row['task']} {where}{_share(summary, row)}"


def _share(summary: Summary, row: Row) -> str:
    return "" if len(summary["fractions"]) == 1 else f" at {row['fraction']:.0%}"


def _planned(summary: Summary, row: Row) -> int:
    return next(
        int(cell["planned"])
        for cell in summary["cells"]
        if cell["subset"] == row["subset"] and cell["fraction"] == row["fraction"]
    )


def _range(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]}–{values[-1]}"
