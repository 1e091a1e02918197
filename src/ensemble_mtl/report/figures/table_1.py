"""Test errors beside the published ones (Lupo Pasini 2022, Table 1).

Drawn from what ``ensemble-mtl reproduce table-1`` has left in the study directory.
"""

from __future__ import annotations

from matplotlib.figure import Figure

from ensemble_mtl.report.figures import look, reproduction_record
from ensemble_mtl.report.inputs import Layout, ReportInputs

TITLE = "Beside the published errors"
ORDER = 15

_SETS = (("published", "published", -0.12, "o", "white"), ("found", "this study", 0.12, "D", None))


def caption(inputs: ReportInputs) -> str:
    """What is shown, and what the bars mean."""
    return (
        "Scaled test RMSE of each ensemble, as published and in this study: mean ± sample standard deviation (ddof 1) "
        "over seeds on one split, not the same split. Further left is better."
    )


def draw(inputs: ReportInputs, layout: Layout) -> Figure | None:
    """The published errors beside those that the study has now; None without the record, or without results."""
    present = {
        (frozenset(cell["subset"]), cell["task"]): [cell["mean"], cell["std"], cell["members"]]
        for cell in inputs.summary["cells"]
        if cell["metric"] == "rmse_scaled" and cell["fraction"] == 1.0 and cell["members"]
    }

    def of_present(record: reproduction_record.Record, layout: Layout) -> Figure:
        cells = [
            {**cell, "found": present.get((frozenset(cell["study_subset"]), cell["study_task"]))}
            for cell in record["cells"]
        ]
        return of_record({"cells": cells}, layout)

    options = f"--study {inputs.study.root} "
    return reproduction_record.drawn(inputs, layout, "table-1", of_present, options) if present else None


def of_record(record: reproduction_record.Record, layout: Layout) -> Figure:
    """One panel per task, one row per subset that learns it."""
    cells = record["cells"]
    tasks = list(dict.fromkeys(cell["task"] for cell in cells))
    most = max(sum(cell["task"] == task for cell in cells) for task in tasks)
    with look.style():
        figure, axes = look.panels(layout, len(tasks), height=0.9 + 0.5 * most)
        for index, (axis, task) in enumerate(zip(axes, tasks, strict=True)):
            own = [cell for cell in cells if cell["task"] == task]
            for key, name, shift, marker, face in _SETS:
                known = [(row + shift, cell[key]) for row, cell in enumerate(own) if cell[key]]
                axis.errorbar(
                    [mean for _, (mean, *_) in known], [row for row, _ in known],
                    xerr=[std or 0.0 for _, (_, std, _) in known], fmt=marker, ms=6, capsize=3,
                    color=look.color(index), mfc=face or look.color(index), label=name,
                )  # fmt: skip
            axis.set_yticks(range(len(own)), [cell["subset"] for cell in own])
            axis.set_ylim(len(own) - 0.5, -0.5)
            axis.grid(axis="x")
            axis.set(title=task, xlabel="test RMSE (scaled)")
            axis.locator_params(axis="x", nbins=5)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(_SETS))
    return figure
