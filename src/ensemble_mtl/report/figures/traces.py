"""Hessian trace of each task's loss against epoch (New 2022, Fig. 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.report.figures import look
from ensemble_mtl.report.inputs import Layout, ReportInputs
from ensemble_mtl.study.plan import Subset, label

TITLE = "Curvature during training"
ORDER = 80
_MOST_PANELS = 7
_DECADES = 6
"""The axis is logarithmic over so many decades at most."""


@dataclass(frozen=True)
class Trace:
    """Trace of one task's Hessian at the probed epochs.

    Attributes:
        epochs: ``[E]`` mean over members, whose last epochs may differ.
        mean: ``[E]`` mean over members, with its sign.
        std: ``[E]`` sample standard deviation (ddof 1) over members; NaN for a single one.
        sem: ``[E]`` standard error of one member's estimate, mean over members; NaN where it is not known.
    """

    epochs: FloatArray
    mean: FloatArray
    std: FloatArray
    sem: FloatArray


def caption(inputs: ReportInputs) -> str:
    """Whose trace, what band and error bars are, and what is not shown."""
    config = inputs.study.config.probes
    how = f" ({config.trace.name} estimate)" if config is not None else ""
    probed, kept = _probed(inputs), shown(inputs)
    left_out = len(probed) - len(kept)
    left = f" {left_out} subsets in between are left out for room; summary.json has them." if left_out else ""
    return (
        f"Trace of the Hessian of each task's loss with respect to the shared parameters{how}: mean over members, sign "
        "kept, on a scale that is linear between the dotted lines and logarithmic beyond. Band: ± one sample standard "
        "deviation over members (ddof 1). Error bars: standard error of one member's estimate, mean over members. "
        "Points of one epoch stand side by side; last epochs are averaged where early stopping makes them differ. "
        f"Panels share their axes.{left}"
    )


def draw(inputs: ReportInputs, layout: Layout) -> Figure | None:
    """One panel per subset, all of its tasks in it; None without probes."""
    found = {subset: traces(inputs, subset) for subset in shown(inputs)}
    if not found:
        return None
    everything = [one for panel in found.values() for one in panel.values()]
    threshold = linear_threshold(everything)
    last = max(float(one.epochs.max()) for one in everything)
    figure, axes = look.panels(layout, len(found), height=3.2)
    for axis, (subset, panel) in zip(axes, found.items(), strict=True):
        for index, (task, one) in enumerate(panel.items()):
            # side by side, or the error bars of one epoch would hide each other
            _line(axis, inputs, task, one, (index - (len(panel) - 1) / 2) * 0.012 * (last or 1.0))
        axis.set_yscale("symlog", linthresh=threshold)
        axis.axhline(0, color=look.MUTED, lw=0.8)
        for edge in (-threshold, threshold):
            axis.axhline(edge, color=look.MUTED, lw=0.7, ls=":")
        axis.locator_params(axis="y", numticks=7)
        axis.set_title(look.literal(label(subset)))
        axis.set(xlabel="epoch", ylabel="trace of the Hessian")
        axis.grid(axis="y")
    lowest, highest = min(axis.get_ylim()[0] for axis in axes), max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set(ylim=(lowest, highest), xlim=(-0.05 * (last or 1.0), 1.05 * (last or 1.0)))
    order = [look.literal(task) for task in inputs.tasks]
    look.legend_below(figure, axes, columns=6 if layout.columns > 1 else 4, order=order)
    return figure


def shown(inputs: ReportInputs) -> list[Subset]:
    """The probed subsets, the largest first; of more than seven the largest and the single tasks."""
    found = _probed(inputs)
    if len(found) <= _MOST_PANELS:
        return found
    return [found[0], *(subset for subset in found[1:] if len(subset) == 1)]


def traces(inputs: ReportInputs, subset: Subset) -> dict[str, Trace]:
    """Task -> its trace in the members of ``subset``, at the largest training fraction."""
    made = {}
    for task in subset:
        rows = [
            row
            for row in inputs.summary["curvature"]
            if tuple(row["subset"]) == subset and row["task"] == task and row["fraction"] == inputs.fraction
            and row["trace_mean"] is not None
        ]  # fmt: skip
        if rows:
            # None becomes NaN
            columns = (
                np.array([row[name] for row in rows], dtype=np.float64)
                for name in ("epoch_mean", "trace_mean", "trace_std", "trace_sem")
            )
            made[task] = Trace(*columns)
    return made


def linear_threshold(found: list[Trace]) -> float:
    """Where the axis turns from linear to logarithmic: a power of ten, so that ticks stand whole decades apart.

    It lies at or below the smallest trace that is told from 0 by its own standard error, but at most six decades
    below the largest; smaller traces are 0 within their errors, and have no place on a logarithm.
    """
    mean, sem = (np.concatenate([getattr(one, name) for one in found]) for name in ("mean", "sem"))
    sizes = np.abs(mean)
    told = sizes[sizes > np.nan_to_num(sem)]
    largest = float(sizes.max(initial=0.0)) or 1.0
    return 10.0 ** math.floor(math.log10(max(float(told.min(initial=largest)), largest * 10.0**-_DECADES)))


def _probed(inputs: ReportInputs) -> list[Subset]:
    return sorted((subset for subset in inputs.subsets if traces(inputs, subset)), key=lambda subset: -len(subset))


def _line(axis: Axes, inputs: ReportInputs, task: str, one: Trace, shift: float) -> None:
    color, x = look.task_color(inputs, task), one.epochs + shift
    axis.errorbar(
        x, one.mean, yerr=np.nan_to_num(one.sem), color=color, marker=look.task_marker(inputs, task), ms=5, lw=1.4,
        capsize=3, elinewidth=1.2, label=look.literal(task),
    )  # fmt: skip
    if np.isfinite(one.std).any():
        axis.fill_between(x, one.mean - one.std, one.mean + one.std, color=color, alpha=0.13, lw=0)
