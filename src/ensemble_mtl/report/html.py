"""The report as one self-contained page, which opens offline, runs no script and loads nothing from another host."""

from __future__ import annotations

from pathlib import Path

from ensemble_mtl.analysis.summary import Summary
from ensemble_mtl.report import curvature_tables, tables, weightings
from ensemble_mtl.report.doubts import doubts
from ensemble_mtl.report.drawing import Drawing
from ensemble_mtl.report.table import Table
from ensemble_mtl.report.verdicts import headlines
from ensemble_mtl.study.plan import label

_HERE = Path(__file__).parent


def render(summary: Summary, drawings: list[Drawing]) -> str:
    """The page as HTML, with the figures of ``drawings`` in it; every value of the summary is escaped."""
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
        comparisons=_optional(tables.comparisons(summary)),
        weightings=_optional(weightings.effects(summary)),
        cost_tables=[table for table in (tables.cost(summary), tables.wall_clock(summary)) if table.rows],
        curvature=_optional(tables.curvature(summary)),
        mismatch=_optional(curvature_tables.mismatch(summary)),
        pairs=_optional(curvature_tables.pairs(summary)),
        figures=[drawing for drawing in drawings if drawing.section == "figures"],
        curvature_figures=[drawing for drawing in drawings if drawing.section == "curvature"],
    )


def _tight(text: str) -> str:
    """Text whose numbers keep their signs and units on the same line."""
    for breakable in (" %", " = ", " < ", " ± ", " … "):
        text = text.replace(breakable, breakable.replace(" ", "\u00a0"))
    return text


def _pieces(text: str) -> list[str]:
    """The parts of a cell between which a narrow screen may break, such as a mean and its deviation."""
    return text.replace(" ± ", "\n± ").replace(" … ", " …\n").split("\n")


def _more_errors(summary: Summary) -> list[Table]:
    """The tables of errors that are folded away: all but the first one at the largest fraction."""
    first, *smaller = tables.fractions(summary)
    at_smaller = [table for fraction in smaller for table in tables.error_tables(summary, fraction)]
    return [*tables.error_tables(summary, first)[1:], *at_smaller]


def _optional(table: Table) -> Table | None:
    """The table, or None if it has no rows."""
    return table if table.rows else None


def _status(summary: Summary) -> list[tuple[str, str]]:
    """Colour class and text of each small label under the title, which count members by state."""
    counts, damaged = summary.counts, len(summary.damaged)
    chips = [("good" if summary.complete else "warn", f"{counts.done} of {counts.total} members done")]
    chips += [("bad", f"{counts.failed} failed")] if counts.failed else []
    chips += [("bad", f"{damaged} damaged")] if damaged else []
    chips += [("warn", f"{counts.running} running")] if counts.running else []
    missing = counts.missing - damaged
    chips += [("warn", f"{missing} missing")] if missing else []
    return chips
