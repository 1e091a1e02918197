"""Figure 7 of New 2022, and how the trace converges."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.probes.lanczos import Density
from ensemble_mtl.probes.smoothing import FloatArray, smoothed
from ensemble_mtl.report.figures import _style
from ensemble_mtl.report.figures._spectra import KERNEL
from ensemble_mtl.report.inputs import WIDE
from ensemble_mtl.reproduce._quadratic import Exact, running

_BINS = 60
_POINTS = 600
_NAMES = {"quadrature": "Lanczos quadrature", "deflated": "deflated"}


def draw(exact: Exact, densities: Mapping[str, Density], samples: FloatArray) -> Figure:
    """Exact eigenvalues, estimated densities, and the running mean of the trace.

    Args:
        exact: the truth.
        densities: estimator -> its density.
        samples: ``[n]`` forms vᵀHv of Hutchinson's estimator.
    """
    with _style.style():
        figure, (left, middle, right) = _style.panels(WIDE, 3, height=3.6)
        _eigenvalues(left, exact)
        _densities(middle, exact, densities)
        middle.sharex(left)
        _trace(right, exact, samples)
        for axis in (left, middle, right):
            axis.grid(axis="y")
            axis.set_ylim(*((0, None) if axis is not right else (None, None)))
    return figure


def _eigenvalues(axis: Axes, exact: Exact) -> None:
    axis.hist(exact.eigenvalues, bins=_BINS, density=True, color=_style.color(0), alpha=0.75)
    axis.set(title=f"{len(exact.eigenvalues):,} exact eigenvalues", xlabel="eigenvalue", ylabel="density")


def _densities(axis: Axes, exact: Exact, densities: Mapping[str, Density]) -> None:
    values = exact.eigenvalues
    width = KERNEL * float(np.ptp(values))
    grid = np.linspace(values[0] - 4 * width, values[-1] + 4 * width, _POINTS)
    even = np.full(len(values), 1 / len(values))
    axis.fill_between(grid, smoothed(values, even, grid, width), color=_style.MUTED, alpha=0.3, lw=0, label="exact")
    for index, (name, found) in enumerate(densities.items()):
        curve = smoothed(found.nodes[0].numpy(), found.weights[0].numpy(), grid, width)
        axis.plot(grid, curve, color=_style.color(index), lw=1.4, label=_NAMES[name])
    axis.set_title("estimated density")
    axis.set_title(f"σ = {width:.2g}", loc="right", fontsize=10, fontweight="normal")
    axis.set(xlabel="eigenvalue")
    axis.legend(loc="lower center", fontsize=9)


def _trace(axis: Axes, exact: Exact, samples: FloatArray) -> None:
    mean, sem = running(samples)
    counts = np.arange(2, len(samples) + 1)
    for errors, shade in ((3, 0.15), (1, 0.3)):
        band = (mean - errors * sem, mean + errors * sem)
        axis.fill_between(counts, *band, color=_style.color(1), alpha=shade, lw=0, label=f"± {errors} standard errors")
    axis.plot(counts, mean, color=_style.color(1), lw=1.4, label="estimate")
    axis.axhline(exact.trace, color=_style.INK, lw=1.2, ls=(0, (4, 2)), label="exact")
    # the first few samples know nothing, and would take all of the height
    last = 8 * float(sem[-1])
    axis.set_ylim(min(exact.trace, float(mean[-1])) - last, max(exact.trace, float(mean[-1])) + last)
    axis.set(title="trace (Hutchinson)", xlabel="samples", ylabel="running mean")
    axis.legend(loc="best", fontsize=9)
