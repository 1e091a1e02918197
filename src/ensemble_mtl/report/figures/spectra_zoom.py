"""Spectral density of each task's Hessian near 0, at the probed epochs (New 2022, Fig. 5)."""

from __future__ import annotations

from matplotlib.figure import Figure

from ensemble_mtl.report.figures import _spectra
from ensemble_mtl.report.inputs import Layout, ReportInputs

TITLE = "Spectra of the Hessians near 0"
ORDER = 75


def caption(inputs: ReportInputs) -> str:
    """How the curves are made, and how the window was chosen."""
    return (
        f"{_spectra.caption(inputs)} Each column shows the narrowest window about 0 that holds "
        f"{100 * _spectra.INSIDE:g} % of the density of every task and member, but not less than "
        f"{100 * _spectra.LEAST_ZOOM:g} % of the way to the largest |λ|; the smoothing is that of the window."
    )


def draw(inputs: ReportInputs, layout: Layout) -> Figure | None:
    """The middle of every snapshot; None without probes."""
    return _spectra.draw(inputs, layout, _spectra.zoom_window)
