"""``gather``: results into one summary."""

from __future__ import annotations

import sys
from typing import Any

import click

from ensemble_mtl.cli.common import json_option, next_step, note, print_json, study_arguments
from ensemble_mtl.core.errors import EXIT_COMPLETE, EXIT_INCOMPLETE, EXIT_MEMBER_FAILED, IncompleteStudyError
from ensemble_mtl.study.directory import Study


@click.command()
@study_arguments()
@json_option
def command(study: Study, as_json: bool) -> None:
    """Collect what is finished into summary.json and summary.csv, and print the table."""
    summary = collect(study)
    if as_json:
        print_json(summary)
    else:
        show(summary)
        note(f"wrote {study.root / 'summary.json'} and summary.csv; next: {next_step('report')}")
    sys.exit(exit_code(summary))


def collect(study: Study) -> dict[str, Any]:
    """Gather and write; returns the summary."""
    from ensemble_mtl.analysis import gather

    if set(study.states().values()) <= {"missing"} and not study.orphans():
        begun = sum(study.checkpoint(member).exists() for member in study.members())
        told = f"no member is finished yet ({begun} checkpointed)" if begun else "no member has been trained yet"
        raise IncompleteStudyError(f"{study.root}: {told}; `ensemble-mtl run` trains them")
    summary = gather.gather(study)
    gather.write(study, summary)
    return summary


def show(summary: dict[str, Any]) -> None:
    """Print the summary's tables, and last the answer and what speaks against it."""
    from ensemble_mtl.report import doubts, tables, verdicts

    tables.show(summary)
    for verdict in verdicts.headlines(summary):
        print(f"{verdict.task}: {verdict.text}. {verdict.detail}")
    for doubt in doubts.doubts(summary):
        print(f"But: {doubt}")


def exit_code(summary: dict[str, Any]) -> int:
    """0 if every member is in, 1 if one failed, 3 if some are missing."""
    if summary["complete"]:
        return EXIT_COMPLETE
    return EXIT_MEMBER_FAILED if summary["failed"] else EXIT_INCOMPLETE
