"""The report on disk: ``report.html``, ``tables.md`` and the figures beside them."""

from __future__ import annotations

from pathlib import Path

from ensemble_mtl.analysis.summary import Summary
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.report import html
from ensemble_mtl.report.drawing import drawings
from ensemble_mtl.report.inputs import ReportInputs
from ensemble_mtl.report.table import to_markdown
from ensemble_mtl.report.tables import all_tables
from ensemble_mtl.study.directory import Study


def write_report(study: Study, summary: Summary) -> Path:
    """Write ``figures/<name>.svg``, ``tables.md`` and ``report.html`` in the study directory, each atomically.

    Args:
        study: the study directory.
        summary: the summary of the study, from :func:`ensemble_mtl.analysis.gather.gather`.

    Returns:
        The path of ``report.html``.

    Raises:
        StoreError: the graph store is damaged.
        OSError: the study directory cannot be written; an earlier page is left as it was.
    """
    figures = drawings(ReportInputs(study, summary))
    folder = study.root / "figures"
    for drawing in figures:
        atomic.write_bytes(folder / f"{drawing.name}.svg", drawing.wide)
    # a figure of a former report that no longer applies would show outdated results
    for stale in {*folder.glob("*.svg")} - {folder / f"{drawing.name}.svg" for drawing in figures}:
        stale.unlink(missing_ok=True)
    atomic.write_text(study.root / "tables.md", "\n".join(map(to_markdown, all_tables(summary))))
    page = study.root / "report.html"
    atomic.write_text(page, html.render(summary, figures))
    return page
