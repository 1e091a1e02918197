"""Spectral density of each task's Hessian over its full range, at the probed epochs (New 2022, Fig. 6)."""

from __future__ import annotations

from typing import Literal

from matplotlib.figure import Figure

from ensemble_mtl.report.figures import spectral_panels
from ensemble_mtl.report.inputs import PageLayout, ReportInputs

TITLE = "Spectra of the Hessians"
ORDER = 70
SECTION: Literal["curvature"] = "curvature"


def caption(inputs: ReportInputs) -> str:
    """How the curves are made, and which range each column shows."""
    return (
        f"{spectral_panels.caption(inputs)} Each column has its own range, from the smallest eigenvalue of any member "
        "to the largest."
    )


def draw(inputs: ReportInputs, layout: PageLayout) -> Figure | None:
    """The densities over the full range at every shown epoch; None without probes."""
    return spectral_panels.draw(inputs, layout, spectral_panels.full_window)
