"""Every figure of the report as SVG, once for wide screens and once for a phone."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ensemble_mtl.report.figures.base import FAMILY, ReportFigure
from ensemble_mtl.report.inputs import NARROW, WIDE, ReportInputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RASTER_DPI = 130
"""Resolution of the dense parts that are images inside the SVG: sharp on a projector, small in the file."""


@dataclass(frozen=True)
class Drawing:
    """One figure in the forms that the page and the figures folder need.

    Attributes:
        name: the name of its module, and of its file.
        section: the section of the page in which it stands, ``figures`` or ``curvature``.
        title: the heading above the figure.
        caption: the text below it, which says what is shown and what its error bars are.
        wide: the SVG with panels side by side.
        narrow: the SVG with panels in one column.
        partial: whether ``wide`` is a single panel, which does not fill a wide screen.
    """

    name: str
    section: str
    title: str
    caption: str
    wide: bytes
    narrow: bytes
    partial: bool

    @property
    def wide_uri(self) -> str:
        """``wide`` as a data URI."""
        return _data_uri(self.wide)

    @property
    def narrow_uri(self) -> str:
        """``narrow`` as a data URI."""
        return _data_uri(self.narrow)


def drawings(inputs: ReportInputs) -> list[Drawing]:
    """The figures that the study's configuration asks for and that have something to show, in order of ``ORDER``."""
    figures = [(FAMILY.load(name), name) for name in inputs.study.config.report.shown()]
    ordered = sorted(figures, key=lambda pair: pair[0].ORDER)
    return [drawing for figure, name in ordered if (drawing := _drawing(figure, name, inputs)) is not None]


def _drawing(figure: ReportFigure, name: str, inputs: ReportInputs) -> Drawing | None:
    from ensemble_mtl.report.figures import look

    with look.style():
        wide, narrow = figure.draw(inputs, WIDE), figure.draw(inputs, NARROW)
        if wide is None or narrow is None:
            return None
        partial = bool(wide.get_figwidth() < WIDE.width)
        svgs = _svg(wide, inputs), _svg(narrow, inputs)
        return Drawing(name, figure.SECTION, figure.TITLE, figure.caption(inputs), *svgs, partial)


def _svg(figure: Figure, inputs: ReportInputs) -> bytes:
    from ensemble_mtl.report.figures import look

    look.stamp(figure, inputs)
    content = io.BytesIO()
    # without a date, so that the same study gives the same bytes
    figure.savefig(content, format="svg", dpi=_RASTER_DPI, metadata={"Date": None, "Creator": None})
    return content.getvalue()


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")
