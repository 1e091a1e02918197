"""``report``: figures and one HTML page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ensemble_mtl.cli.common import note, print_json, study_arguments
from ensemble_mtl.cli.gather import collect, exit_code, show
from ensemble_mtl.study.directory import Study

if TYPE_CHECKING:
    from ensemble_mtl.analysis.summary import Summary


@click.command()
@study_arguments()
@click.option("--json", "as_json", is_flag=True, help="Print the paths as JSON.")
def command(study: Study, as_json: bool) -> None:
    """Gather, draw the figures and write report.html, which opens anywhere without a network."""
    if as_json:
        summary = collect(study)
        print_json({"report": str(_write(study, summary)), "figures": str(study.root / "figures")})
    else:
        summary = make(study)
    sys.exit(exit_code(summary))


def make(study: Study) -> Summary:
    """Gather the study, print its tables, write the report, and return the summary."""
    summary = collect(study)
    show(summary)
    note(f"report: {_write(study, summary)}")
    return summary


def _write(study: Study, summary: Summary) -> Path:
    from ensemble_mtl.report.write import write_report  # loads matplotlib

    return write_report(study, summary)
