"""What the two figures of spectral densities share: which snapshots, which windows, how smoothed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.curvature import smoothing
from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.report.figures import look
from ensemble_mtl.report.inputs import Layout, ReportInputs
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
_MOST_SNAPSHOTS = 5
_LEAST_SHOWN = 0.5
"""The axis goes down to this share of the peak of one member's single eigenvalue, so that outliers stand out of it."""

Epoch = int | str
Probes = dict[str, list[ProbeResult]]
"""Task -> the members' probes."""
Window = tuple[float, float]


def rows(inputs: ReportInputs) -> dict[str, dict[Epoch, Probes]]:
    """``together`` (the largest subset) and ``alone`` -> snapshot -> the members' probes of each task."""
    largest = inputs.largest
    together = [largest] if largest and len(largest) > 1 else []
    alone = [subset for subset in inputs.subsets if len(subset) == 1]
    found = {"together": _by_epoch(inputs, together), "alone": _by_epoch(inputs, alone)}
    return {name: by_epoch for name, by_epoch in found.items() if by_epoch}


def snapshots(found: dict[str, dict[Epoch, Probes]]) -> list[Epoch]:
    """The probed epochs in order; of more than five, five spread evenly over their list, first and last included."""
    order = sorted({epoch for by_epoch in found.values() for epoch in by_epoch}, key=_place)
    if len(order) <= _MOST_SNAPSHOTS:
        return order
    return [order[round(k * (len(order) - 1) / (_MOST_SNAPSHOTS - 1))] for k in range(_MOST_SNAPSHOTS)]


def full_window(probes: Sequence[ProbeResult]) -> Window:
    """From the smallest eigenvalue to the largest of all, and as much more as the kernel reaches."""
    nodes = np.concatenate([_points(probe)[0] for probe in probes])
    low, high = float(nodes.min()), float(nodes.max())
    # of the whole window's width, margins included
    margin = REACH * KERNEL / (1 - 2 * REACH * KERNEL) * (high - low) or 1.0
    return low - margin, high + margin


def zoom_window(probes: Sequence[ProbeResult]) -> Window:
    """The narrowest window about 0 that holds 99 % of each probe's density."""
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
    """Smoothed density at ``grid`` ``[n]`` from the quadrature of each start, averaged over starts."""
    return smoothing.smoothed(probe.nodes, probe.weights, grid, width)


def smoothed(probes: Sequence[ProbeResult], window: Window) -> tuple[FloatArray, FloatArray, float]:
    """Grid ``[n]`` over the window, density ``[n]`` averaged over the members' probes, and the kernel's width."""
    grid, width = np.linspace(*window, _POINTS), KERNEL * (window[1] - window[0])
    mean: FloatArray = np.mean([density(probe, grid, width) for probe in probes], axis=0)
    return grid, mean, width


def draw(inputs: ReportInputs, layout: Layout, window: Callable[[Sequence[ProbeResult]], Window]) -> Figure | None:
    """A column per snapshot, a row together and one alone, all tasks in each panel; None without probes."""
    found = rows(inputs)
    if not found:
        return None
    epochs = snapshots(found)
    panels = [(name, epoch) for name in found for epoch in epochs]
    figure, axes = look.panels(layout, len(panels), height=2.9, wide_columns=len(epochs))
    windows = {
        epoch: window([p for by_epoch in found.values() for probes in by_epoch.get(epoch, {}).values() for p in probes])
        for epoch in epochs
    }
    for axis, (name, epoch) in zip(axes, panels, strict=True):
        where = "end" if epoch == "end" else f"epoch {epoch}"
        axis.set_title(f"{name}, {where}", fontsize=12 if len(epochs) < 4 else 10)
        if epoch in found[name]:
            _panel(axis, inputs, found[name][epoch], windows[epoch])
        if layout.columns == 1 or epoch == epochs[0]:
            axis.set_ylabel("density")
        axis.set_xlabel("eigenvalue")
    look.legend_below(figure, axes, columns=6 if layout.columns > 1 else 4)
    return figure


def caption(inputs: ReportInputs) -> str:
    """How the curves are made: estimator, kernel, members, and which snapshots are left out."""
    config, found = inputs.study.config.probes, rows(inputs)
    how = f", estimated by {config.density.name}" if config is not None else ""
    all_epochs = {epoch for by_epoch in found.values() for epoch in by_epoch}
    left = sorted(all_epochs - set(snapshots(found)), key=_place)
    text = (
        f"Density of the eigenvalues of each task's Hessian with respect to the shared parameters{how} and smoothed "
        f"with a Gaussian whose standard deviation σ is {100 * KERNEL:g} % of the panel's width (Ghorbani 2019), "
        "averaged over members. Shown down to the height at which one single eigenvalue of a member stands out."
    )
    return text + (f" Left out for room: epochs {', '.join(map(str, left))}." if left else "")


def _by_epoch(inputs: ReportInputs, subsets: Sequence[Subset]) -> dict[Epoch, Probes]:
    found: dict[Epoch, Probes] = {}
    for subset in subsets:
        for task in subset:
            for epoch, probes in inputs.probes(subset, task).items():
                whole = [probe for probe in probes if len(_points(probe)[0])]
                if whole:
                    found.setdefault(epoch, {})[task] = whole
    return found


def _place(epoch: Epoch) -> float:
    return float("inf") if isinstance(epoch, str) else epoch


def _points(probe: ProbeResult) -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of all starts, weights of total 1."""
    nodes, weights = np.atleast_2d(probe.nodes), np.atleast_2d(probe.weights)
    known = np.isfinite(nodes) & (weights > 0)
    return nodes[known], weights[known] / len(nodes)


def _panel(axis: Axes, inputs: ReportInputs, found: Probes, window: Window) -> None:
    top = width = 0.0
    for task, probes in found.items():
        grid, mean, width = smoothed(probes, window)
        top = max(top, float(mean.max()))
        axis.plot(
            grid, mean, color=look.task_color(inputs, task), dashes=look.task_dashes(inputs, task), lw=1.4,
            label=look.literal(task),
        )  # fmt: skip
    num_parameters = max(probe.num_parameters for probes in found.values() for probe in probes)
    num_members = max(len(probes) for probes in found.values())
    single = 1.0 / (num_members * num_parameters * width * np.sqrt(2 * np.pi))
    axis.set(yscale="log", ylim=(min(_LEAST_SHOWN * single, top * 1e-3), top * 10), xlim=window)
    axis.minorticks_off()  # over many decades they take longer to draw than all the rest
    axis.locator_params(axis="x", nbins=4)
    axis.grid(axis="y")
    axis.text(0.97, 0.96, f"σ = {width:.2g}", transform=axis.transAxes, ha="right", va="top", fontsize=9)
