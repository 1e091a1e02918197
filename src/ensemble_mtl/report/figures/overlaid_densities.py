"""Spectral densities drawn over each other: the full range, and the bulk, which holds most of the eigenvalues."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ensemble_mtl.curvature.smoothing import smoothed
from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.report.figures import look
from ensemble_mtl.report.figures.spectral_panels import KERNEL, lower_limit
from ensemble_mtl.report.inputs import WIDE

Spectrum = tuple[FloatArray, FloatArray]
"""Nodes and weights ``[S, K]`` of S Lanczos runs; shorter runs are filled up with NaN nodes of weight 0."""

BULK = 0.95
"""The panel of the bulk shows at least this share of each spectrum's weight."""
_POINTS = 1200


def draw(spectra: Mapping[str, Spectrum], colors: Mapping[str, str], size: int, *, synthetic: bool) -> Figure | None:
    """Two panels, the whole range and the bulk.

    Args:
        spectra: the name of each spectrum to its nodes and weights; one without a finite node is left out.
        colors: the name of each spectrum to its colour.
        size: P, the number of eigenvalues.
        synthetic: whether the data are synthetic, which the figure then says.

    Returns:
        The figure, or None if no spectrum has a finite node.
    """
    finite = {name: spectrum for name, spectrum in spectra.items() if _is_finite(spectrum)}
    if not finite:
        return None
    with look.style():
        figure, axes = look.panels(WIDE, 2, height=3.8)
        shares = (0.0, (1 - BULK) / 2, (1 + BULK) / 2, 1.0)
        edges = np.array([_quantiles(spectrum, shares) for spectrum in finite.values()])
        low, bulk_low, bulk_high, high = edges[:, 0].min(), edges[:, 1].min(), edges[:, 2].max(), edges[:, 3].max()
        _panel(axes[0], "full range", finite, colors, size, (low, high))
        _panel(axes[1], f"bulk: {BULK:.0%} of the eigenvalues", finite, colors, size, (bulk_low, bulk_high))
        look.legend_below(figure, axes[:1], columns=min(len(finite), 6))
        if synthetic:
            look.stamp_synthetic(figure)
    return figure


def _is_finite(spectrum: Spectrum) -> bool:
    """Whether the spectrum has a finite node with weight, and only finite weights."""
    nodes, weights = spectrum
    return bool(np.isfinite(weights).all() and (np.isfinite(nodes) & (weights > 0)).any())


def _quantiles(spectrum: Spectrum, shares: tuple[float, ...]) -> list[float]:
    """Eigenvalues below which the ``shares`` of the spectrum's weight lie."""
    nodes, weights = spectrum
    used = np.isfinite(nodes) & (weights > 0)
    values, mass = nodes[used], weights[used]
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
    # the window has no width where all weight lies in one point, as for a loss without curvature
    width = KERNEL * (high - low) or KERNEL * (abs(low) or 1.0)
    grid = np.linspace(low - 4 * width, high + 4 * width, _POINTS)
    top = 0.0
    for name, (nodes, weights) in spectra.items():
        curve = smoothed(nodes, weights, grid, width)
        top = max(top, float(curve.max()))
        axis.plot(grid, curve, color=colors[name], lw=1.4, label=look.literal(name))
    axis.set_title(title)
    axis.set_title(f"σ = {width:.2g}", loc="right", fontsize=10, fontweight="normal")
    axis.set(xlabel="eigenvalue", ylabel="density", yscale="log")
    axis.set_ylim(lower_limit(size, width, top), top * 3)
    axis.grid(axis="y")
