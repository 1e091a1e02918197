"""The report on disk: ``report.html``, ``tables.md`` and the figures beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ensemble_mtl.core.storage import atomic
from ensemble_mtl.report import html
from ensemble_mtl.report.drawing import drawings
from ensemble_mtl.report.inputs import ReportInputs
from ensemble_mtl.report.table import to_markdown
from ensemble_mtl.report.tables import all_tables
from ensemble_mtl.study.directory import Study


def write(study: Study, summary: dict[str, Any]) -> Path:
    """Make ``figures/<name>.svg``, ``tables.md`` and ``report.html`` in the study directory, each atomically.

    Args:
        study: the study directory.
        summary: what :func:`ensemble_mtl.analysis.gather.gather` returned for it.

    Returns:
        The page.

    Raises:
        StoreError: the graph store is damaged.
        OSError: the study directory cannot be written; a former page is untouched.
    """
    made = drawings(ReportInputs(study, summary))
    folder = study.root / "figures"
    for drawing in made:
        atomic.write_bytes(folder / f"{drawing.name}.svg", drawing.wide)
    # a figure that no longer applies would tell of results that are gone
    for stale in {*folder.glob("*.svg")} - {folder / f"{drawing.name}.svg" for drawing in made}:
        stale.unlink(missing_ok=True)
    atomic.write_text(study.root / "tables.md", "\n".join(map(to_markdown, all_tables(summary))))
    page = study.root / "report.html"
    atomic.write_text(page, html.render(summary, made))
    return page
