"""Validation error against epoch, one panel per task."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ensemble_mtl.graph import FloatArray
from ensemble_mtl.plan import Subset, label
from ensemble_mtl.report.figures import _style
from ensemble_mtl.report.inputs import History, Layout, ReportInputs

TITLE = "Learning curves"
ORDER = 40


def caption(inputs: ReportInputs) -> str:
    """What is averaged, and how members that stopped early count."""
    return (
        "Scaled validation RMSE of each task (the summed loss of different subsets cannot be compared). Line: mean "
        "over members; band: ± one sample standard deviation (ddof 1). Members that stopped early keep their last "
        "value."
    )


def draw(inputs: ReportInputs, layout: Layout) -> Figure | None:
    """Mean and band of every subset that learns the task; None without histories."""
    histories = {
        subset: [history for member, _ in pairs if (history := inputs.history(member))]
        for subset, pairs in inputs.members.items()
    }
    curves = {task: _curves(histories, task) for task in inputs.tasks}
    curves = {task: found for task, found in curves.items() if found}
    if not curves:
        return None
    figure, axes = _style.panels(layout, len(curves), height=3.4)
    for axis, (task, found) in zip(axes, curves.items(), strict=True):
        for subset, (epochs, values) in found.items():
            _line(axis, epochs, values, inputs, subset)
        axis.set_title(_style.literal(inputs.summary["tasks"][task]["label"]))
        axis.set(xlabel="epoch", ylabel="validation RMSE (scaled)", yscale="log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.grid(axis="y")
    order = [label(subset) for subset in inputs.subsets]
    _style.legend_below(figure, axes, columns=7 if layout.columns > 1 else 4, order=order)
    return figure


def _curves(histories: dict[Subset, list[History]], task: str) -> dict[Subset, tuple[FloatArray, FloatArray]]:
    """Subset -> epochs ``[E]`` and values ``[members, E]``."""
    found = {}
    for subset, members in histories.items():
        series = [_series(history, task) for history in members]
        series = [one for one in series if one]
        if series:
            epochs = sorted({epoch for one in series for epoch in one})
            values = np.array([_carried(one, epochs) for one in series])
            found[subset] = (np.array(epochs, dtype=np.float64), values)
    return found


def _series(history: History, task: str) -> dict[int, float]:
    values = {int(row["epoch"]): (row.get("val_rmse_scaled") or {}).get(task) for row in history}
    return {epoch: float(value) for epoch, value in values.items() if value is not None and value > 0}


def _carried(series: dict[int, float], epochs: list[int]) -> list[float]:
    """Values at ``epochs``; after the member's last epoch, its last value."""
    last, values = float("nan"), []
    for epoch in epochs:
        last = series.get(epoch, last)
        values.append(last)
    return values


def _line(axis: Axes, epochs: FloatArray, values: FloatArray, inputs: ReportInputs, subset: Subset) -> None:
    whole = np.isfinite(values).all(axis=0)
    epochs, values = epochs[whole], values[:, whole]
    color = _style.subset_color(inputs, subset)
    mean = values.mean(axis=0)
    marker = "o" if len(epochs) == 1 else ""
    dashes = _style.subset_dashes(inputs, subset)
    axis.plot(epochs, mean, color=color, dashes=dashes, marker=marker, ms=5, label=label(subset))
    if len(values) > 1:
        std = values.std(axis=0, ddof=1)
        # a log axis has no place for the lower edge of a band that reaches below 0
        axis.fill_between(epochs, np.maximum(mean - std, mean / 5), mean + std, color=color, alpha=0.1, lw=0)
