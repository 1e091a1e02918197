"""Hessian trace of each task's loss against epoch (New 2022, Fig. 4)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.report.figures import look
from ensemble_mtl.report.inputs import PageLayout, ReportInputs
from ensemble_mtl.study.plan import Subset, label

TITLE = "Curvature during training"
ORDER = 80
SECTION: Literal["curvature"] = "curvature"
_MAX_PANELS = 7
_DECADES = 6
"""The largest number of decades over which the axis is logarithmic."""


@dataclass(frozen=True)
class Trace:
    """The trace of one task's Hessian at the E probed epochs.

    Attributes:
        epochs: ``[E]`` mean over members, whose last epochs may differ.
        mean: ``[E]`` mean over members, with its sign.
        std: ``[E]`` sample standard deviation (ddof 1) over members; NaN for a single member.
        sem: ``[E]`` standard error of one member's estimate, mean over members; NaN where a member has none.
    """

    epochs: FloatArray
    mean: FloatArray
    std: FloatArray
    sem: FloatArray


def caption(inputs: ReportInputs) -> str:
    """What the lines, bands and error bars are, and how many subsets are left out."""
    config = inputs.study.config.probes
    how = f" ({config.trace.name} estimate)" if config is not None else ""
    left_out = len(_probed(inputs)) - len(shown(inputs))
    remark = f" {left_out} subsets in between are left out for room; summary.json has them." if left_out else ""
    return (
        f"Trace of the Hessian of each task's loss with respect to the shared parameters{how}: mean over members, sign "
        "kept, on a scale that is linear between the dotted lines and logarithmic beyond. Band: ± one sample standard "
        "deviation over members (ddof 1). Error bars: standard error of one member's estimate, mean over members. "
        "Points of one epoch stand side by side; last epochs are averaged where early stopping makes them differ. "
        f"Panels share their axes.{remark}"
    )


def draw(inputs: ReportInputs, layout: PageLayout) -> Figure | None:
    """One panel per subset, all of its tasks in it; None without probes."""
    panels = {subset: traces(inputs, subset) for subset in shown(inputs)}
    if not panels:
        return None
    all_traces = [trace for by_task in panels.values() for trace in by_task.values()]
    threshold = linear_threshold(all_traces)
    last = max(float(trace.epochs.max()) for trace in all_traces)
    figure, axes = look.panels(layout, len(panels), height=3.2)
    for axis, (subset, by_task) in zip(axes, panels.items(), strict=True):
        for index, (task, trace) in enumerate(by_task.items()):
            # tasks stand side by side, or the error bars of one epoch would hide each other
            _line(axis, inputs, task, trace, (index - (len(by_task) - 1) / 2) * 0.012 * (last or 1.0))
        axis.set_yscale("symlog", linthresh=threshold)
        axis.axhline(0, color=look.MUTED, lw=0.8)
        for edge in (-threshold, threshold):
            axis.axhline(edge, color=look.MUTED, lw=0.7, ls=":")
        axis.locator_params(axis="y", numticks=7)
        axis.set_title(look.literal(label(subset)))
        axis.set(xlabel="epoch", ylabel="trace of the Hessian")
        axis.grid(axis="y")
    look.share_y_limits(axes)
    for axis in axes:
        axis.set(xlim=(-0.05 * (last or 1.0), 1.05 * (last or 1.0)))
    order = [look.literal(task) for task in inputs.tasks]
    look.legend_below(figure, axes, columns=6 if layout.columns > 1 else 4, order=order)
    return figure


def shown(inputs: ReportInputs) -> list[Subset]:
    """The subsets to show, the largest first: all probed ones or, of more than seven, the largest and single tasks."""
    probed = _probed(inputs)
    if len(probed) <= _MAX_PANELS:
        return probed
    return [probed[0], *(subset for subset in probed[1:] if len(subset) == 1)]


def traces(inputs: ReportInputs, subset: Subset) -> dict[str, Trace]:
    """Each task to its trace in the members of ``subset``, at the largest training fraction."""
    by_task = {}
    for task in subset:
        rows = [
            row
            for row in inputs.summary.curvature
            if row.subset == subset and row.task == task and row.fraction == inputs.fraction
            and row.trace_mean is not None
        ]  # fmt: skip
        if rows:
            by_task[task] = Trace(
                epochs=_column(row.epoch_mean for row in rows),
                mean=_column(row.trace_mean for row in rows),
                std=_column(row.trace_std for row in rows),
                sem=_column(row.trace_sem_mean for row in rows),
            )
    return by_task


def linear_threshold(traces: list[Trace]) -> float:
    """The size at which the axis changes from linear to logarithmic: a power of ten, so that ticks are decades apart.

    It lies at or below the smallest trace that is larger than its standard error, but at most six decades below the
    largest. Smaller traces are 0 within their errors, and 0 has no logarithm.
    """
    mean, sem = (np.concatenate([getattr(trace, name) for trace in traces]) for name in ("mean", "sem"))
    sizes = np.abs(mean)
    significant = sizes[sizes > np.nan_to_num(sem)]
    largest = float(sizes.max(initial=0.0)) or 1.0
    return 10.0 ** math.floor(math.log10(max(float(significant.min(initial=largest)), largest * 10.0**-_DECADES)))


def _column(values: Iterable[float | None]) -> FloatArray:
    """The values as an array; None becomes NaN."""
    return np.array(list(values), dtype=np.float64)


def _probed(inputs: ReportInputs) -> list[Subset]:
    """The subsets with traces, the largest first."""
    return sorted((subset for subset in inputs.subsets if traces(inputs, subset)), key=lambda subset: -len(subset))


def _line(axis: Axes, inputs: ReportInputs, task: str, trace: Trace, shift: float) -> None:
    """Draw a task's trace with error bars and band, moved to the right by ``shift`` epochs."""
    color, x = look.task_color(inputs, task), trace.epochs + shift
    axis.errorbar(
        x, trace.mean, yerr=np.nan_to_num(trace.sem), color=color, marker=look.task_marker(inputs, task), ms=5, lw=1.4,
        capsize=3, elinewidth=1.2, label=look.literal(task),
    )  # fmt: skip
    if np.isfinite(trace.std).any():
        axis.fill_between(x, trace.mean - trace.std, trace.mean + trace.std, color=color, alpha=0.13, lw=0)
