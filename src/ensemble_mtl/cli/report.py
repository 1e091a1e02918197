"""``report``: figures and one HTML page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ensemble_mtl.cli.common import note, print_json, study_arguments
from ensemble_mtl.cli.gather import collect, exit_code, show
from ensemble_mtl.study.directory import Study


@click.command()
@study_arguments()
@click.option("--json", "as_json", is_flag=True, help="Print the paths as JSON.")
def command(study: Study, as_json: bool) -> None:
    """Gather, draw the figures and write report.html, which opens anywhere without a network."""
    if as_json:
        summary = collect(study)
        print_json({"report": str(write(study, summary)), "figures": str(study.root / "figures")})
    else:
        summary = make(study)
    sys.exit(exit_code(summary))


def make(study: Study) -> dict[str, Any]:
    """Gather, print the tables, write the report; returns the summary."""
    summary = collect(study)
    show(summary)
    note(f"report: {write(study, summary)}")
    return summary


def write(study: Study, summary: dict[str, Any]) -> Path:
    """Write figures and report.html; returns the latter's path."""
    from ensemble_mtl.report import write as writer

    return writer.write(study, summary)
