"""The estimators on a Hessian that is known exactly, and how the trace converges (New 2022, Fig. 7).

It is drawn from the record that ``ensemble-mtl reproduce appendix-e`` writes to the study directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.curvature.smoothing import smoothed
from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.report.figures import look, reproduction_record
from ensemble_mtl.report.figures.spectral_panels import KERNEL
from ensemble_mtl.report.inputs import PageLayout, ReportInputs
from ensemble_mtl.report.records import AppendixERecord, Quadrature

TITLE = "The estimators on a Hessian that is known"
ORDER = 85
SECTION: Literal["curvature"] = "curvature"

_BINS = 60
_POINTS = 600
_NAMES = {"quadrature": "Lanczos quadrature", "deflated": "deflated"}


def caption(inputs: ReportInputs) -> str:
    """A description of the three panels."""
    return (
        "L(x) = ½ xᵀAx with a random symmetric A, and what the estimators find of A by products alone. Left: exact "
        "eigenvalues. Middle: estimated densities beside the exact one, smoothed alike. Right: running mean of "
        "Hutchinson's samples with its standard error."
    )


def draw(inputs: ReportInputs, layout: PageLayout) -> Figure | None:
    """The figure of the study's record; None without probes, or without the record."""
    if not inputs.summary.curvature:
        return None
    return reproduction_record.drawn(inputs, layout, "appendix-e", AppendixERecord, of_record)


def of_record(record: AppendixERecord, layout: PageLayout) -> Figure:
    """Exact eigenvalues, estimated densities, and the running mean of the trace."""
    with look.style():
        figure, (left, middle, right) = look.panels(layout, 3, height=3.6)
        eigenvalues = np.array(record.eigenvalues, dtype=np.float64)
        left.hist(eigenvalues, bins=_BINS, density=True, color=look.color(0), alpha=0.75)
        left.set(title=f"{len(eigenvalues):,} exact eigenvalues", xlabel="eigenvalue", ylabel="density")
        _densities(middle, eigenvalues, record.spectra)
        middle.sharex(left)
        _trace(right, record.exact.trace, np.array(record.trace_samples, dtype=np.float64))
        for axis in (left, middle, right):
            axis.grid(axis="y")
            axis.set_ylim(*((0, None) if axis is not right else (None, None)))
    return figure


def running(samples: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The mean and the standard error of the first 2, 3, …, n ``samples`` ``[n]``, as two arrays ``[n - 1]``."""
    counts = np.arange(2, len(samples) + 1)
    mean = np.cumsum(samples)[1:] / counts
    # deviations from the last mean, since the squares of large samples would cancel and lose their digits
    shifted = samples - samples.mean()
    square = np.cumsum(shifted**2)[1:] - counts * (np.cumsum(shifted)[1:] / counts) ** 2
    return mean, np.sqrt(np.maximum(square, 0.0) / (counts - 1) / counts)


def _densities(axis: Axes, eigenvalues: FloatArray, spectra: Mapping[str, Quadrature]) -> None:
    width = KERNEL * float(np.ptp(eigenvalues))
    grid = np.linspace(eigenvalues[0] - 4 * width, eigenvalues[-1] + 4 * width, _POINTS)
    even = np.full(len(eigenvalues), 1 / len(eigenvalues))
    axis.fill_between(grid, smoothed(eigenvalues, even, grid, width), color=look.MUTED, alpha=0.3, lw=0,
                      label="exact")  # fmt: skip
    for index, (name, spectrum) in enumerate(spectra.items()):
        nodes, weights = (np.array(rows, dtype=np.float64) for rows in (spectrum.nodes, spectrum.weights))
        axis.plot(grid, smoothed(nodes, weights, grid, width), color=look.color(index), lw=1.4, label=_NAMES[name])
    axis.set_title("estimated density")
    axis.set_title(f"σ = {width:.2g}", loc="right", fontsize=10, fontweight="normal")
    axis.set(xlabel="eigenvalue")
    axis.legend(loc="lower center", fontsize=9)


def _trace(axis: Axes, exact: float, samples: FloatArray) -> None:
    mean, sem = running(samples)
    counts = np.arange(2, len(samples) + 1)
    for errors, shade in ((3, 0.15), (1, 0.3)):
        band = (mean - errors * sem, mean + errors * sem)
        axis.fill_between(counts, *band, color=look.color(1), alpha=shade, lw=0, label=f"± {errors} standard errors")
    axis.plot(counts, mean, color=look.color(1), lw=1.4, label="estimate")
    axis.axhline(exact, color=look.INK, lw=1.2, ls=(0, (4, 2)), label="exact")
    # the wide error bands of the first few samples would take all of the height
    last = 8 * float(sem[-1])
    axis.set_ylim(min(exact, float(mean[-1])) - last, max(exact, float(mean[-1])) + last)
    axis.set(title="trace (Hutchinson)", xlabel="samples", ylabel="running mean")
    axis.legend(loc="best", fontsize=9)
