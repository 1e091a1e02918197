"""Test errors beside the published ones (Lupo Pasini 2022, Table 1).

It is drawn from the record that ``ensemble-mtl reproduce table-1`` writes to the study directory.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.report.figures import look, reproduction_record
from ensemble_mtl.report.inputs import PageLayout, ReportInputs
from ensemble_mtl.report.records import Ensemble, Table1Record

TITLE = "Beside the published errors"
ORDER = 15


def caption(inputs: ReportInputs) -> str:
    """What is shown, and what the bars mean."""
    return (
        "Scaled test RMSE of each ensemble, as published and in this study: mean ± sample standard deviation (ddof 1) "
        "over seeds on one split, not the same split. Further left is better."
    )


def draw(inputs: ReportInputs, layout: PageLayout) -> Figure | None:
    """The published errors beside the present ones of the study; None without the record, or without results."""
    present = {
        (frozenset(cell.subset), cell.task): (cell.error.mean, cell.error.std, cell.error.members)
        for cell in inputs.summary.cells
        if cell.metric == "rmse_scaled" and cell.fraction == 1.0 and cell.error.mean is not None
    }

    def with_present_errors(record: Table1Record, layout: PageLayout) -> Figure:
        cells = (
            cell.model_copy(update={"found": present.get((frozenset(cell.study_subset), cell.study_task))})
            for cell in record.cells
        )
        return of_record(record.model_copy(update={"cells": tuple(cells)}), layout)

    if not present:
        return None
    options = f"--study {inputs.study.root} "
    return reproduction_record.drawn(inputs, layout, "table-1", Table1Record, with_present_errors, options)


def of_record(record: Table1Record, layout: PageLayout) -> Figure:
    """One panel per task, one row per subset that learns it."""
    tasks = list(dict.fromkeys(cell.task for cell in record.cells))
    rows = {task: [cell for cell in record.cells if cell.task == task] for task in tasks}
    with look.style():
        figure, axes = look.panels(layout, len(tasks), height=0.9 + 0.5 * max(map(len, rows.values())))
        for index, (axis, task) in enumerate(zip(axes, tasks, strict=True)):
            cells = rows[task]
            _points(axis, -0.12, [cell.published for cell in cells], "published", "o", look.color(index), "white")
            _points(axis, 0.12, [cell.found for cell in cells], "this study", "D", look.color(index))
            axis.set_yticks(range(len(cells)), [cell.subset for cell in cells])
            axis.set_ylim(len(cells) - 0.5, -0.5)
            axis.grid(axis="x")
            axis.set(title=task, xlabel="test RMSE (scaled)")
            axis.locator_params(axis="x", nbins=5)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def _points(
    axis: Axes, shift: float, values: Sequence[Ensemble | None], name: str, marker: str, color: str, face: str = ""
) -> None:
    """Draw means with their deviations, by so much ``shift`` below the middle of their rows."""
    present = [(row + shift, value) for row, value in enumerate(values) if value]
    axis.errorbar(
        [mean for _, (mean, *_) in present], [row for row, _ in present],
        xerr=[std or 0.0 for _, (_, std, _) in present], fmt=marker, ms=6, capsize=3,
        color=color, mfc=face or color, label=name,
    )  # fmt: skip
