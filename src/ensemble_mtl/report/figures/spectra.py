"""Spectral density of each task's Hessian at the probed epochs (New 2022, Figs. 5 and 6)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.graph import FloatArray
from ensemble_mtl.plan import Subset
from ensemble_mtl.probes.smoothing import smoothed
from ensemble_mtl.report.figures import _style
from ensemble_mtl.report.inputs import Layout, ReportInputs, series_name
from ensemble_mtl.results import ProbeResult

TITLE = "Spectra of the Hessians"
ORDER = 70
KERNEL = 0.01
"""Width (standard deviation) of the smoothing kernel, as a share of the panel's spectral range."""
_POINTS = 600
_LEAST_SHOWN = 0.5
"""The axis goes down to this share of the peak of one member's single eigenvalue, so that outliers stand out of it."""

Series = dict[tuple[Subset, str], list[ProbeResult]]


def caption(inputs: ReportInputs) -> str:
    """How the curves are made, and how wide the kernel is."""
    return (
        "Density of the eigenvalues of each task's Hessian with respect to the shared parameters: stochastic Lanczos "
        f"quadrature, smoothed with a Gaussian whose standard deviation is {100 * KERNEL:g} % of the panel's range of "
        "eigenvalues (given there as σ), averaged over members. Full lines: all tasks together; dashed: each alone. "
        "Shown down to the height at which one single eigenvalue of a member stands out."
    )


def draw(inputs: ReportInputs, layout: Layout) -> Figure | None:
    """One panel per probed epoch; None without probes."""
    by_epoch = _by_epoch(inputs)
    if not by_epoch:
        return None
    figure, axes = _style.panels(layout, len(by_epoch), height=3.6)
    for axis, (epoch, series) in zip(axes, by_epoch.items(), strict=True):
        width = _panel(axis, series, inputs)
        where = "end of training" if epoch == "end" else "before training" if epoch == 0 else f"epoch {epoch}"
        axis.set_title(where)
        axis.set_title(f"σ = {width:.2g}", loc="right", fontsize=10, fontweight="normal")
        axis.set(xlabel="eigenvalue", ylabel="density", yscale="log")
        axis.grid(axis="y")
    _style.legend_below(figure, axes, columns=3 if layout.columns > 1 else 2)
    return figure


def density(probe: ProbeResult, grid: FloatArray, width: float) -> FloatArray:
    """Smoothed density at ``grid`` ``[n]`` from the quadrature of each start, averaged over starts."""
    return smoothed(probe.nodes, probe.weights, grid, width)


def _by_epoch(inputs: ReportInputs) -> dict[int | str, Series]:
    largest = inputs.largest
    shown = dict.fromkeys([*([largest] if largest else []), *(s for s in inputs.subsets if len(s) == 1)])
    found: dict[int | str, Series] = {}
    for subset in shown:
        for task in subset:
            for epoch, probes in inputs.probes(subset, task).items():
                found.setdefault(epoch, {})[subset, task] = probes
    order = sorted(found, key=lambda epoch: float("inf") if isinstance(epoch, str) else epoch)
    return {epoch: found[epoch] for epoch in order}


def _panel(axis: Axes, series: Series, inputs: ReportInputs) -> float:
    nodes = np.concatenate([probe.nodes[np.isfinite(probe.nodes)] for probes in series.values() for probe in probes])
    low, high = float(nodes.min()), float(nodes.max())
    width = KERNEL * (high - low) or 1.0
    grid = np.linspace(low - 4 * width, high + 4 * width, _POINTS)
    top = 0.0
    for (subset, task), probes in series.items():
        mean = np.mean([density(probe, grid, width) for probe in probes], axis=0)
        top = max(top, float(mean.max()))
        style = "-" if len(subset) > 1 else (0, (4, 2))
        name = series_name(task, subset)
        axis.plot(grid, mean, color=_style.task_color(inputs, task), ls=style, lw=1.4, label=name)
    num_parameters = max(probe.num_parameters for probes in series.values() for probe in probes)
    num_members = max(len(probes) for probes in series.values())
    single = 1.0 / (num_members * num_parameters * width * np.sqrt(2 * np.pi))
    axis.set_ylim(min(_LEAST_SHOWN * single, top * 1e-3), top * 3)
    return width
