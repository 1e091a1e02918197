"""Spectral densities laid over each other: all of their range, and the part near zero where most of the weight is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.curvature.smoothing import smoothed
from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.report.figures import look
from ensemble_mtl.report.figures.spectral_panels import KERNEL
from ensemble_mtl.report.inputs import WIDE

Spectrum = tuple[FloatArray, FloatArray]
"""Nodes and weights ``[S, K]`` of a quadrature; NaN nodes and zero weights pad."""

BULK = 0.95
"""Share of each spectrum's weight that the panel of the bulk shows at least."""
_POINTS = 1200
_LEAST_SHOWN = 0.5
"""The axis goes down to this share of the peak of one single eigenvalue, so that outliers stand out of it."""


def draw(spectra: Mapping[str, Spectrum], colors: Mapping[str, str], size: int, *, synthetic: bool) -> Figure | None:
    """Two panels, the whole range and the bulk.

    Args:
        spectra: name -> its quadrature; one without a finite node is left out.
        colors: name -> colour.
        size: P, the number of eigenvalues.
        synthetic: whether the figure must say that its data are.

    Returns:
        None if no spectrum has a finite node.
    """
    known = {name: one for name, one in spectra.items() if _is_known(one)}
    if not known:
        return None
    with look.style():
        figure, axes = look.panels(WIDE, 2, height=3.8)
        edges = np.array([_quantiles(one, (0.0, (1 - BULK) / 2, (1 + BULK) / 2, 1.0)) for one in known.values()])
        low, bulk_low, bulk_high, high = edges[:, 0].min(), edges[:, 1].min(), edges[:, 2].max(), edges[:, 3].max()
        _panel(axes[0], "full range", known, colors, size, (low, high))
        _panel(axes[1], f"bulk: {BULK:.0%} of the eigenvalues", known, colors, size, (bulk_low, bulk_high))
        look.legend_below(figure, axes[:1], columns=min(len(known), 6))
        if synthetic:
            look.stamp_synthetic(figure)
    return figure


def _is_known(spectrum: Spectrum) -> bool:
    nodes, weights = spectrum
    return bool(np.isfinite(weights).all() and (np.isfinite(nodes) & (weights > 0)).any())


def _quantiles(spectrum: Spectrum, shares: tuple[float, ...]) -> list[float]:
    """Eigenvalues below which the ``shares`` of the spectrum's weight lie."""
    nodes, weights = spectrum
    known = np.isfinite(nodes) & (weights > 0)
    values, mass = nodes[known], weights[known]
    order = np.argsort(values)
    below = np.cumsum(mass[order]) / mass.sum()
    last = len(order) - 1
    return [float(values[order][min(int(np.searchsorted(below, share)), last)]) for share in shares]


def _panel(
    axis: Axes,
    title: str,
    spectra: Mapping[str, Spectrum],
    colors: Mapping[str, str],
    size: int,
    window: tuple[float, float],
) -> None:
    low, high = window
    # all weight in one point, as of a loss without curvature
    width = KERNEL * (high - low) or KERNEL * (abs(low) or 1.0)
    grid = np.linspace(low - 4 * width, high + 4 * width, _POINTS)
    top = 0.0
    for name, (nodes, weights) in spectra.items():
        curve = smoothed(nodes, weights, grid, width)
        top = max(top, float(curve.max()))
        axis.plot(grid, curve, color=colors[name], lw=1.4, label=look.literal(name))
    single = 1.0 / (size * width * np.sqrt(2 * np.pi))
    axis.set_title(title)
    axis.set_title(f"σ = {width:.2g}", loc="right", fontsize=10, fontweight="normal")
    axis.set(xlabel="eigenvalue", ylabel="density", yscale="log")
    axis.set_ylim(min(_LEAST_SHOWN * single, top * 1e-3), top * 3)
    axis.grid(axis="y")
