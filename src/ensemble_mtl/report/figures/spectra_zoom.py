"""Spectral density of each task's Hessian near 0, at the probed epochs (New 2022, Fig. 5)."""

from __future__ import annotations

from matplotlib.figure import Figure

from ensemble_mtl.report.figures import spectral_panels
from ensemble_mtl.report.inputs import Layout, ReportInputs

TITLE = "Spectra of the Hessians near 0"
ORDER = 75


def caption(inputs: ReportInputs) -> str:
    """How the curves are made, and how the window was chosen."""
    return (
        f"{spectral_panels.caption(inputs)} Each column shows the narrowest window about 0 that holds "
        f"{100 * spectral_panels.INSIDE:g} % of the density of every task and member, but not less than "
        f"{100 * spectral_panels.LEAST_ZOOM:g} % of the way to the largest |λ|; the smoothing is that of the window."
    )


def draw(inputs: ReportInputs, layout: Layout) -> Figure | None:
    """The middle of every snapshot; None without probes."""
    return spectral_panels.draw(inputs, layout, spectral_panels.zoom_window)
