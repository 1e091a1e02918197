"""The common parts of the two figures of spectral densities: their epochs, windows, smoothing and panels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.analysis.snapshots import in_order
from ensemble_mtl.analysis.summary_rows import Epoch
from ensemble_mtl.curvature import smoothing
from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.report.figures import look
from ensemble_mtl.report.inputs import PageLayout, ReportInputs
from ensemble_mtl.study.plan import Subset
from ensemble_mtl.study.results import ProbeResult

KERNEL = 0.01
"""Width (standard deviation) of the smoothing kernel, as a share of the panel's spectral range."""
REACH = 5.0
"""Kernel widths that the full window goes beyond the outermost eigenvalue; 6e-7 of a Gaussian lies farther out."""
INSIDE = 0.99
"""Share of every task's density that the zoomed window holds."""
LEAST_ZOOM = 0.02
"""The zoomed window is not narrower than this share of the largest |λ|: a density may be nothing but zeros."""
_POINTS = 800
_MAX_SNAPSHOTS = 5
_LOWEST_PEAK = 0.5
"""The axis goes down to this share of the height of a single eigenvalue, so that outliers can be seen."""

Probes = dict[str, list[ProbeResult]]
"""Task to the members' probes."""
Window = tuple[float, float]
"""Lower and upper end of the shown eigenvalues."""


def rows(inputs: ReportInputs) -> dict[str, dict[Epoch, Probes]]:
    """The rows ``together`` (the largest subset) and ``alone``: probed epoch to the members' probes of each task."""
    largest = inputs.largest
    together = [largest] if largest and len(largest) > 1 else []
    alone = [subset for subset in inputs.subsets if len(subset) == 1]
    named = {"together": _by_epoch(inputs, together), "alone": _by_epoch(inputs, alone)}
    return {name: by_epoch for name, by_epoch in named.items() if by_epoch}


def snapshots(rows: dict[str, dict[Epoch, Probes]]) -> list[Epoch]:
    """The epochs to show, in order: all, or five spread evenly over more of them, first and last included."""
    order = in_order({epoch for by_epoch in rows.values() for epoch in by_epoch})
    if len(order) <= _MAX_SNAPSHOTS:
        return order
    return [order[round(k * (len(order) - 1) / (_MAX_SNAPSHOTS - 1))] for k in range(_MAX_SNAPSHOTS)]


def full_window(probes: Sequence[ProbeResult]) -> Window:
    """The window from the smallest eigenvalue of all ``probes`` to the largest, widened by the reach of the kernel."""
    nodes = np.concatenate([_points(probe)[0] for probe in probes])
    low, high = float(nodes.min()), float(nodes.max())
    # the kernel's width is a share of the whole window, margins included, which gives the denominator
    margin = REACH * KERNEL / (1 - 2 * REACH * KERNEL) * (high - low) or 1.0
    return low - margin, high + margin


def zoom_window(probes: Sequence[ProbeResult]) -> Window:
    """The narrowest window about 0 that holds the share :data:`INSIDE` of each probe's density."""
    half = largest = 0.0
    for probe in probes:
        nodes, weights = _points(probe)
        order = np.argsort(np.abs(nodes))
        sizes, inside = np.abs(nodes)[order], np.cumsum(weights[order]) / weights.sum()
        half = max(half, float(sizes[min(int(np.searchsorted(inside, INSIDE - 1e-12)), len(sizes) - 1)]))
        largest = max(largest, float(sizes[-1]))
    half = max(half, LEAST_ZOOM * largest) or 1.0
    return -half, half


def density(probe: ProbeResult, grid: FloatArray, width: float) -> FloatArray:
    """Smoothed density ``[n]`` at the points ``grid`` ``[n]``, averaged over the probe's Lanczos runs."""
    return smoothing.smoothed(probe.nodes, probe.weights, grid, width)


def lower_limit(num_eigenvalues: int, width: float, top: float) -> float:
    """The lower end of a logarithmic density axis, at which a single eigenvalue of so many can still be seen.

    Args:
        num_eigenvalues: the number of eigenvalues that the density is of.
        width: the standard deviation of the smoothing kernel.
        top: the largest density; the axis spans at least three decades below it.
    """
    peak_of_one = 1.0 / (num_eigenvalues * width * np.sqrt(2 * np.pi))
    return float(min(_LOWEST_PEAK * peak_of_one, top * 1e-3))


def smoothed(probes: Sequence[ProbeResult], window: Window) -> tuple[FloatArray, FloatArray, float]:
    """A grid ``[n]`` over the window, the density ``[n]`` averaged over members' ``probes``, and the kernel's width."""
    grid, width = np.linspace(*window, _POINTS), KERNEL * (window[1] - window[0])
    mean: FloatArray = np.mean([density(probe, grid, width) for probe in probes], axis=0)
    return grid, mean, width


def draw(inputs: ReportInputs, layout: PageLayout, window: Callable[[Sequence[ProbeResult]], Window]) -> Figure | None:
    """A column per snapshot, a row together and one alone, all tasks in each panel; None without probes."""
    by_row = rows(inputs)
    if not by_row:
        return None
    epochs = snapshots(by_row)
    panels = [(name, epoch) for name in by_row for epoch in epochs]
    figure, axes = look.panels(layout, len(panels), height=2.9, wide_columns=len(epochs))
    windows = {
        epoch: window(
            [p for by_epoch in by_row.values() for probes in by_epoch.get(epoch, {}).values() for p in probes]
        )
        for epoch in epochs
    }
    for axis, (name, epoch) in zip(axes, panels, strict=True):
        where = "end" if epoch == "end" else f"epoch {epoch}"
        axis.set_title(f"{name}, {where}", fontsize=12 if len(epochs) < 4 else 10)
        if epoch in by_row[name]:
            _panel(axis, inputs, by_row[name][epoch], windows[epoch])
        if layout.columns == 1 or epoch == epochs[0]:
            axis.set_ylabel("density")
        axis.set_xlabel("eigenvalue")
    look.legend_below(figure, axes, columns=6 if layout.columns > 1 else 4)
    return figure


def caption(inputs: ReportInputs) -> str:
    """How the curves are made: estimator, kernel, members, and which snapshots are left out."""
    config, by_row = inputs.study.config.probes, rows(inputs)
    how = f", estimated by {config.density.name}" if config is not None else ""
    all_epochs = {epoch for by_epoch in by_row.values() for epoch in by_epoch}
    left_out = in_order(all_epochs - set(snapshots(by_row)))
    text = (
        f"Density of the eigenvalues of each task's Hessian with respect to the shared parameters{how} and smoothed "
        f"with a Gaussian whose standard deviation σ is {100 * KERNEL:g} % of the panel's width (Ghorbani 2019), "
        "averaged over members. Shown down to the height at which one single eigenvalue of a member stands out."
    )
    return text + (f" Left out for room: epochs {', '.join(map(str, left_out))}." if left_out else "")


def _by_epoch(inputs: ReportInputs, subsets: Sequence[Subset]) -> dict[Epoch, Probes]:
    """Probed epoch to the probes of each task in members of ``subsets``; probes without a finite node are left out."""
    by_epoch: dict[Epoch, Probes] = {}
    for subset in subsets:
        for task in subset:
            for epoch, probes in inputs.probes(subset, task).items():
                finite = [probe for probe in probes if len(_points(probe)[0])]
                if finite:
                    by_epoch.setdefault(epoch, {})[task] = finite
    return by_epoch


def _points(probe: ProbeResult) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of all Lanczos runs of a probe, in two arrays ``[n]``; the weights sum to 1."""
    nodes, weights = np.atleast_2d(probe.nodes), np.atleast_2d(probe.weights)
    used = np.isfinite(nodes) & (weights > 0)
    return nodes[used], weights[used] / len(nodes)


def _panel(axis: Axes, inputs: ReportInputs, by_task: Probes, window: Window) -> None:
    """Draw the density of each task over the ``window``."""
    top = width = 0.0
    for task, probes in by_task.items():
        grid, mean, width = smoothed(probes, window)
        top = max(top, float(mean.max()))
        axis.plot(
            grid, mean, color=look.task_color(inputs, task), dashes=look.task_dashes(inputs, task), lw=1.4,
            label=look.literal(task),
        )  # fmt: skip
    num_parameters = max(probe.num_parameters for probes in by_task.values() for probe in probes)
    num_members = max(len(probes) for probes in by_task.values())
    lowest = lower_limit(num_members * num_parameters, width, top)
    axis.set(yscale="log", ylim=(lowest, top * 10), xlim=window)
    axis.minorticks_off()  # over many decades they take longer to draw than all the rest
    axis.locator_params(axis="x", nbins=4)
    axis.grid(axis="y")
    axis.text(0.97, 0.96, f"σ = {width:.2g}", transform=axis.transAxes, ha="right", va="top", fontsize=9)
