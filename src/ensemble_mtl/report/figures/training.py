"""Error of each task, in training and held out, against epoch (New 2022, Fig. 3)."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.report.curves import Curve, curve
from ensemble_mtl.report.figures import look
from ensemble_mtl.report.inputs import PageLayout, ReportInputs
from ensemble_mtl.study.plan import Subset, label

TITLE = "Errors during training"
ORDER = 45
_PARTS = {"train": "training part", "val": "validation part", "test": "test part"}
_MARKS = 8
"""The approximate number of markers along a line."""

Curves = dict[tuple[str, str], Curve]
"""(part, task) to the curve of the task's error on that part of the data."""


def caption(inputs: ReportInputs) -> str:
    """What is averaged, over which members, and on which part of the data."""
    metric, held_out = _recorded(inputs)
    numbers = sorted({line.members for panel in curves(inputs).values() for line in panel.values()})
    over = "–".join(map(str, dict.fromkeys((numbers[0], numbers[-1])))) if numbers else "no"
    text = (
        f"{metric.upper()} of each task against epoch, {_scale(inputs)}. The training error is taken during training, "
        "of each batch with the weights and the batch norm of that moment, so it may lie above the held-out "
        f"error. Line: mean over members ({over} of them); band: ± one sample standard deviation (ddof "
        "1). Members that stopped early keep their last value."
    )
    if metric == "rmse":
        text += " The study was trained before mean absolute errors were recorded."
    if held_out != "test":
        text += " Test errors were not recorded along the way (train.test_every); validation stands in."
    return text


def draw(inputs: ReportInputs, layout: PageLayout) -> Figure | None:
    """All tasks together in one panel, each alone in another; None without histories."""
    metric, held_out = _recorded(inputs)
    panels = curves(inputs)
    if not panels:
        return None
    figure, axes = look.panels(layout, len(panels), height=3.6, wide_columns=2)
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        for (part, task), line in panel.items():
            _line(axis, inputs, task, line, held_out=part == held_out)
        axis.set_title(look.literal(title))
        axis.set(xlabel="epoch", ylabel=f"{metric.upper()} ({_short_scale(inputs)})")
        look.log_scale(axis)
    for part, dashes in ((held_out, (1.0, 0.0)), ("train", (4.0, 2.0))):
        axes[0].plot([], [], color=look.INK, dashes=dashes, label=_PARTS[part])
    look.share_y_limits(axes)
    order = [*(look.literal(task) for task in inputs.tasks), _PARTS[held_out], _PARTS["train"]]
    look.legend_below(figure, axes, columns=len(order) if layout.columns > 1 else 3, order=order)
    return figure


def curves(inputs: ReportInputs) -> dict[str, Curves]:
    """The title of each panel to its curves: first the largest subset, then the tasks alone."""
    metric, held_out = _recorded(inputs)
    largest = inputs.largest
    alone: list[Subset] = [subset for subset in inputs.subsets if len(subset) == 1]
    subsets_of = {"each task alone": alone}
    if largest and len(largest) > 1:
        subsets_of = {f"{label(largest)} together": [largest], **subsets_of}
    panels: dict[str, Curves] = {}
    for title, subsets in subsets_of.items():
        for part in (held_out, "train"):
            for subset in subsets:
                for task in subset:
                    if line := curve(inputs.histories[subset], f"{part}_{metric}_scaled", task):
                        panels.setdefault(title, {})[part, task] = line
    return panels


def _recorded(inputs: ReportInputs) -> tuple[str, str]:
    """The metric and the held-out part to show: ``mae`` and ``test`` if recorded, or else ``rmse`` and ``val``."""
    keys = {
        key
        for histories in inputs.histories.values()
        for history in histories
        for epoch in history
        for key in epoch.by_task
    }
    metric = "mae" if "val_mae_scaled" in keys else "rmse"
    return metric, "test" if f"test_{metric}_scaled" in keys else "val"


def _scale(inputs: ReportInputs) -> str:
    normalize = inputs.summary.data.normalize
    part = "all graphs" if normalize.fit_on == "all" else "the training part"
    unit = {"standard": "in standard deviations of the target", "minmax": "as a share of the target's range"}
    return f"{unit[normalize.method]} over {part}"


def _short_scale(inputs: ReportInputs) -> str:
    return {"standard": "standardised", "minmax": "min-max scaled"}[inputs.summary.data.normalize.method]


def _line(axis: Axes, inputs: ReportInputs, task: str, line: Curve, *, held_out: bool) -> None:
    color = look.task_color(inputs, task)
    marks = max(1, len(line.epochs) // _MARKS)
    axis.plot(
        line.epochs, line.mean, color=color, dashes=(1, 0) if held_out else (4, 2), lw=1.8 if held_out else 1.2,
        marker=look.task_marker(inputs, task), ms=4.5, markevery=(marks // 2, marks),
        label=look.literal(task) if held_out else None,
    )  # fmt: skip
    if band := line.band():
        axis.fill_between(line.epochs, *band, color=color, alpha=0.14 if held_out else 0.07, lw=0)
