"""Hessian trace of each task's loss against epoch (New 2022, Fig. 4)."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.plan import Subset
from ensemble_mtl.report.figures import _style
from ensemble_mtl.report.inputs import Layout, ReportInputs, series_name

TITLE = "Curvature during training"
ORDER = 80


def caption(inputs: ReportInputs) -> str:
    """Whose trace, and what the error bars are."""
    return (
        "Trace of the Hessian of each task's loss with respect to the shared parameters (Hutchinson estimate), mean "
        "over members, on a scale that is linear around 0 and logarithmic beyond. Error bars: ± one sample standard "
        "deviation over members (ddof 1), or the standard error of the estimate for a single member. "
        "Full lines: all tasks together; dashed: each alone. Points of one epoch stand side by "
        "side; last epochs are averaged where early stopping makes them differ."
    )


def draw(inputs: ReportInputs, layout: Layout) -> Figure | None:
    """One panel; None without probes."""
    largest = inputs.largest
    shown = list(dict.fromkeys([*([largest] if largest else []), *(s for s in inputs.subsets if len(s) == 1)]))
    series = [(subset, task) for subset in shown for task in subset if _rows(inputs, subset, task)]
    if not series:
        return None
    figure, (axis,) = _style.panels(layout, 1, height=4.0 if layout.columns > 1 else 4.6)
    last = max(row["epoch_mean"] for subset, task in series for row in _rows(inputs, subset, task))
    for index, (subset, task) in enumerate(series):
        # side by side, or the error bars of one epoch would hide each other
        shift = (index - (len(series) - 1) / 2) * 0.008 * (last or 1.0)
        _line(axis, inputs, (subset, task), shift)
    means = [abs(row["trace_mean"]) for subset, task in series for row in _rows(inputs, subset, task)]
    smallest = min((value for value in means if value > 0), default=1.0)
    # a power of ten, so that the first tick stands a whole decade's height from 0
    threshold = 10.0 ** math.floor(math.log10(max(smallest, max(means) * 1e-6) or 1.0))
    axis.set_yscale("symlog", linthresh=threshold)
    axis.axhline(0, color=_style.MUTED, lw=0.8)
    axis.set(xlabel="epoch", ylabel="trace of the Hessian")
    axis.grid(axis="y")
    _style.legend_below(figure, [axis], columns=3 if layout.columns > 1 else 2)
    return figure


def _rows(inputs: ReportInputs, subset: Subset, task: str) -> list[dict[str, Any]]:
    return [
        row
        for row in inputs.summary["curvature"]
        if tuple(row["subset"]) == subset and row["task"] == task and row["fraction"] == inputs.fraction
    ]


def _line(axis: Axes, inputs: ReportInputs, series: tuple[Subset, str], shift: float) -> None:
    subset, task = series
    rows = _rows(inputs, subset, task)
    container = axis.errorbar(
        [row["epoch_mean"] + shift for row in rows],
        [row["trace_mean"] for row in rows],
        yerr=[row["trace_std"] if row["trace_std"] is not None else row["trace_sem"] for row in rows],
        color=_style.task_color(inputs, task), marker="o", ms=5, capsize=3, elinewidth=1.2,
        ls="-" if len(subset) > 1 else (0, (4, 2)), label=series_name(task, subset),
    )  # fmt: skip
    container.lines[0].set_markerfacecolor("white" if len(subset) == 1 else _style.task_color(inputs, task))
