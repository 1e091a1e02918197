"""Validation error against epoch, one panel per task."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.report.curves import Curve, curve
from ensemble_mtl.report.figures import look
from ensemble_mtl.report.inputs import PageLayout, ReportInputs
from ensemble_mtl.study.plan import Subset, label

TITLE = "Learning curves"
ORDER = 40


def caption(inputs: ReportInputs) -> str:
    """What is averaged, and how members that stopped early count."""
    return (
        "Scaled validation RMSE of each task (the summed loss of different subsets cannot be compared). Line: mean "
        "over members; band: ± one sample standard deviation (ddof 1). Members that stopped early keep their last "
        "value."
    )


def draw(inputs: ReportInputs, layout: PageLayout) -> Figure | None:
    """Mean and band of every subset that learns the task; None without histories."""
    curves = {task: _curves(inputs, task) for task in inputs.tasks}
    curves = {task: by_subset for task, by_subset in curves.items() if by_subset}
    if not curves:
        return None
    figure, axes = look.panels(layout, len(curves), height=3.4)
    for axis, (task, by_subset) in zip(axes, curves.items(), strict=True):
        for subset, line in by_subset.items():
            _line(axis, line, inputs, subset)
        axis.set_title(look.literal(inputs.summary.tasks[task].label))
        axis.set(xlabel="epoch", ylabel="validation RMSE (scaled)")
        look.log_scale(axis)
    order = [label(subset) for subset in inputs.subsets]
    look.legend_below(figure, axes, columns=7 if layout.columns > 1 else 4, order=order)
    return figure


def _curves(inputs: ReportInputs, task: str) -> dict[Subset, Curve]:
    """Subset to the curve of the task's validation error, for the subsets that recorded it."""
    curves = {subset: curve(histories, "val_rmse_scaled", task) for subset, histories in inputs.histories.items()}
    return {subset: line for subset, line in curves.items() if line is not None}


def _line(axis: Axes, line: Curve, inputs: ReportInputs, subset: Subset) -> None:
    color = look.subset_color(inputs, subset)
    marker = "o" if len(line.epochs) == 1 else ""
    dashes = look.subset_dashes(inputs, subset)
    axis.plot(line.epochs, line.mean, color=color, dashes=dashes, marker=marker, ms=5, label=label(subset))
    if band := line.band():
        axis.fill_between(line.epochs, *band, color=color, alpha=0.1, lw=0)
