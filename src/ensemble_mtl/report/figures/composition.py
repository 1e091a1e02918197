"""Properties against composition, and against each other (Lupo Pasini 2022, Fig. 6)."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.analysis.statistics import pearson
from ensemble_mtl.core.elements import SYMBOLS
from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.report.figures import look
from ensemble_mtl.report.inputs import PageLayout, ReportInputs
from ensemble_mtl.report.table import fixed

TITLE = "Properties, composition, and each other"
ORDER = 60
_MAX_PAIRS = 6


def caption(inputs: ReportInputs) -> str:
    """What a point is, and which tasks are left out."""
    left_out = [task for task in inputs.tasks if inputs.is_conserved(task)]
    remark = f" Left out, since its sum is the same in every graph: {', '.join(left_out)}." if left_out else ""
    return (
        "The data themselves, one point per graph; properties of atoms are summed over each graph. First the "
        "properties against composition, then against each other, with Pearson's r of the shown values. A strong "
        f"relation, even a curved one, is what multi-task learning can use.{remark}"
    )


def draw(inputs: ReportInputs, layout: PageLayout) -> Figure | None:
    """One panel per task against composition, if it varies, then one per pair of tasks."""
    share, symbol = _composition(inputs)
    shown = [task for task in inputs.tasks if not inputs.is_conserved(task)]
    values = {task: inputs.target(task, total=True) for task in shown}
    pairs = list(combinations(shown, 2))[:_MAX_PAIRS]
    against = shown if np.ptp(share) > 0 else []
    if not against and not pairs:
        return None
    figure, axes = look.panels(layout, len(against) + len(pairs), height=3.1)
    for axis, task in zip(axes, against, strict=False):
        _cloud(axis, share, values[task], look.task_color(inputs, task))
        axis.set(xlabel=f"share of {symbol}", ylabel=_total(inputs, task))
    for axis, (first, second) in zip(axes[len(against) :], pairs, strict=True):
        _cloud(axis, values[first], values[second], look.INK)
        axis.set(xlabel=_total(inputs, first), ylabel=_total(inputs, second))
        r = pearson(values[first], values[second])
        if r is not None:
            axis.set_title(f"r = {fixed(r, 2)}", fontweight="normal", fontsize=10, loc="right")
    return figure


def _composition(inputs: ReportInputs) -> tuple[FloatArray, str]:
    """``[G]`` the share of the lightest element in each graph, from 0 to 1, and the element's symbol."""
    store = inputs.store
    first = int(store.atomic_numbers.min())
    is_first = (store.atomic_numbers == first).astype(np.float64)
    share: FloatArray = np.add.reduceat(is_first, store.node_ptr[:-1]) / np.diff(store.node_ptr)
    return share, SYMBOLS[first - 1] if 1 <= first <= len(SYMBOLS) else f"Z = {first}"


def _cloud(axis: Axes, x: FloatArray, y: FloatArray, color: str) -> None:
    axis.locator_params(nbins=5)
    size, alpha = (3.0, 0.18) if len(x) > 2000 else (9.0, 0.4)
    axis.scatter(x, y, s=size, color=color, alpha=alpha, linewidths=0, rasterized=True)


def _total(inputs: ReportInputs, task: str) -> str:
    """Axis text of a task's value per graph, which is a sum for properties of atoms."""
    prefix = "total " if inputs.summary.tasks[task].level == "node" else ""
    return look.literal(prefix + inputs.quantity(task))
