"""Spectral density of each task's Hessian over its full range, at the probed epochs (New 2022, Fig. 6)."""

from __future__ import annotations

from matplotlib.figure import Figure

from ensemble_mtl.report.figures import spectral_panels
from ensemble_mtl.report.inputs import Layout, ReportInputs

TITLE = "Spectra of the Hessians"
ORDER = 70


def caption(inputs: ReportInputs) -> str:
    """How the curves are made, and how wide the kernel is."""
    return (
        f"{spectral_panels.caption(inputs)} Each column has its own range, from the smallest eigenvalue of any member "
        "to the largest."
    )


def draw(inputs: ReportInputs, layout: Layout) -> Figure | None:
    """The full range of every snapshot; None without probes."""
    return spectral_panels.draw(inputs, layout, spectral_panels.full_window)
