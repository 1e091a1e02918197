"""One self-contained page: opens offline, runs no script, asks nothing of any other host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ensemble_mtl.report import curvature_tables, tables, weightings
from ensemble_mtl.report.doubts import doubts
from ensemble_mtl.report.drawing import Drawing
from ensemble_mtl.report.table import Table
from ensemble_mtl.report.verdicts import headlines
from ensemble_mtl.study.plan import label

_HERE = Path(__file__).parent


def render(summary: dict[str, Any], drawings: list[Drawing]) -> str:
    """The page as HTML; every value of the summary is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["label"] = label
    environment.filters["tight"] = _tight
    environment.filters["pieces"] = _pieces
    page = environment.get_template("report.html")
    style = Markup((_HERE / "report.css").read_text())  # noqa: S704 - this package's own file
    return page.render(
        s=summary,
        style=style,
        status=_status(summary),
        headlines=headlines(summary),
        doubts=doubts(summary),
        main_tables=[tables.errors(summary, "rmse_scaled", tables.fractions(summary)[0])],
        more_tables=_more_errors(summary),
        gains=_optional(tables.gains(summary)),
        weightings=_optional(weightings.effects(summary)),
        cost_tables=[table for table in (tables.cost(summary), tables.wall_clock(summary)) if table.rows],
        curvature=_optional(tables.curvature(summary)),
        mismatch=_optional(curvature_tables.mismatch(summary)),
        pairs=_optional(curvature_tables.pairs(summary)),
        figures=[drawing for drawing in drawings if drawing.name not in _CURVATURE],
        curvature_figures=[drawing for drawing in drawings if drawing.name in _CURVATURE],
    )


_CURVATURE = ("spectra", "spectra_zoom", "traces", "appendix_e")


def _tight(text: str) -> str:
    """Text whose numbers keep their signs and units on the same line."""
    for loose in (" %", " = ", " < ", " ± ", " … "):
        text = text.replace(loose, loose.replace(" ", "\u00a0"))
    return text


def _pieces(text: str) -> list[str]:
    """The parts of a cell between which a narrow screen may break, such as a mean and its deviation."""
    return text.replace(" ± ", "\n± ").replace(" … ", " …\n").split("\n")


def _more_errors(summary: dict[str, Any]) -> list[Table]:
    first, *others = tables.fractions(summary)
    rest = [table for fraction in others for table in tables.error_tables(summary, fraction)]
    return [*tables.error_tables(summary, first)[1:], *rest]


def _optional(table: Table) -> Table | None:
    return table if table.rows else None


def _status(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """(tone, text) of the chips under the title."""
    counts = summary["counts"]
    chips = [("good" if summary["complete"] else "warn", f"{counts['done']} of {counts['total']} members done")]
    chips += [("bad", f"{counts['failed']} failed")] if counts["failed"] else []
    chips += [("bad", f"{len(summary['damaged'])} damaged")] if summary["damaged"] else []
    chips += [("warn", f"{counts['running']} running")] if counts["running"] else []
    missing = counts["missing"] - len(summary["damaged"])
    chips += [("warn", f"{missing} missing")] if missing else []
    return chips
