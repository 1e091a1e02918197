"""The interface of the report's figures, of which a study shows those that apply to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from ensemble_mtl.config import registry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ensemble_mtl.report.inputs import PageLayout, ReportInputs


class ReportFigure(Protocol):
    """A module that draws one figure."""

    TITLE: str
    """The heading above it."""
    ORDER: int
    """Figures stand in the order of these numbers."""
    SECTION: Literal["figures", "curvature"]
    """The section of the page in which the figure stands; ``figures`` if left out."""

    def caption(self, inputs: ReportInputs) -> str:
        """The text below the figure: what it shows, and what its error bars are. It is asked for only after drawing."""

    def draw(self, inputs: ReportInputs, layout: PageLayout) -> Figure | None:
        """The figure in the ``layout``; None where the study has nothing to show."""


FAMILY = registry.Family[ReportFigure]("report.figures", ReportFigure, SECTION="figures")
