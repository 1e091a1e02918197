"""Every figure of the report as SVG, once for wide screens and once for a phone."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING

from ensemble_mtl.config import registry
from ensemble_mtl.report.inputs import NARROW, WIDE, ReportInputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAMILY = "report.figures"
_RASTER_DPI = 130  # of dense parts inside the SVG; sharp on a projector, small in the file


@dataclass(frozen=True)
class Drawing:
    """One figure in the forms that the page and the figures folder take it.

    Attributes:
        name: of its module, and of its file.
        title: heading.
        caption: what is shown, and how its errors are meant.
        wide: SVG, panels side by side.
        narrow: SVG, panels in one column.
        partial: whether ``wide`` is a single panel, which does not fill a wide screen.
    """

    name: str
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
    """All figures that its configuration names and that apply to the study, in their modules' ``ORDER``."""
    modules = [(registry.load(FAMILY, name), name) for name in inputs.study.config.report.shown()]
    made = [_drawing(module, name, inputs) for module, name in sorted(modules, key=lambda pair: pair[0].ORDER)]
    return [drawing for drawing in made if drawing is not None]


def _drawing(module: ModuleType, name: str, inputs: ReportInputs) -> Drawing | None:
    from ensemble_mtl.report.figures import look

    with look.style():
        wide, narrow = module.draw(inputs, WIDE), module.draw(inputs, NARROW)
        if wide is None or narrow is None:
            return None
        partial = bool(wide.get_figwidth() < WIDE.width)
        return Drawing(name, module.TITLE, module.caption(inputs), _svg(wide, inputs), _svg(narrow, inputs), partial)


def _svg(figure: Figure, inputs: ReportInputs) -> bytes:
    from ensemble_mtl.report.figures import look

    look.stamp(figure, inputs)
    content = io.BytesIO()
    # no date: the same study gives the same bytes
    figure.savefig(content, format="svg", dpi=_RASTER_DPI, metadata={"Date": None, "Creator": None})
    return content.getvalue()


def _data_uri(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode("ascii")
