"""Spectral density of each task's Hessian near 0, at the probed epochs (New 2022, Fig. 5)."""

from __future__ import annotations

from typing import Literal

from matplotlib.figure import Figure

from ensemble_mtl.report.figures import spectral_panels
from ensemble_mtl.report.inputs import PageLayout, ReportInputs

TITLE = "Spectra of the Hessians near 0"
ORDER = 75
SECTION: Literal["curvature"] = "curvature"


def caption(inputs: ReportInputs) -> str:
    """How the curves are made, and which range each column shows."""
    return (
        f"{spectral_panels.caption(inputs)} Each column shows the narrowest window about 0 that holds "
        f"{100 * spectral_panels.INSIDE:g} % of the density of every task and member, but not less than "
        f"{100 * spectral_panels.LEAST_ZOOM:g} % of the way to the largest |λ|; the smoothing is that of the window."
    )


def draw(inputs: ReportInputs, layout: PageLayout) -> Figure | None:
    """The densities near 0 at every shown epoch; None without probes."""
    return spectral_panels.draw(inputs, layout, spectral_panels.zoom_window)
