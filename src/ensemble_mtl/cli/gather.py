"""``gather``: collect the results into one summary."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ensemble_mtl.cli.common import json_option, next_step, note, print_json, study_arguments
from ensemble_mtl.core.errors import EXIT_COMPLETE, EXIT_INCOMPLETE, EXIT_MEMBER_FAILED, IncompleteStudyError
from ensemble_mtl.study.directory import Study

if TYPE_CHECKING:
    from ensemble_mtl.analysis.summary import Summary


@click.command()
@study_arguments()
@json_option
def command(study: Study, as_json: bool) -> None:
    """Collect what is finished into summary.json and summary.csv, and print the table."""
    summary = collect(study)
    if as_json:
        print_json(summary.model_dump(mode="json"))
    else:
        show(summary)
        note(f"wrote {study.root / 'summary.json'} and summary.csv; next: {next_step('report')}")
    sys.exit(exit_code(summary))


def collect(study: Study) -> Summary:
    """Gather the study, write summary.json and summary.csv, and return the summary.

    Raises:
        IncompleteStudyError: no member is finished.
    """
    from ensemble_mtl.analysis import summary_file
    from ensemble_mtl.analysis.gather import gather

    if set(study.states().values()) <= {"missing"} and not study.orphans():
        begun = sum(study.checkpoint(member).exists() for member in study.plan())
        state = f"no member is finished yet ({begun} checkpointed)" if begun else "no member has been trained yet"
        raise IncompleteStudyError(f"{study.root}: {state}; `ensemble-mtl run` trains them")
    summary = gather(study)
    summary_file.write_summary(study, summary)
    return summary


def show(summary: Summary) -> None:
    """Print the summary's tables, then the answer for each task, and last what speaks against the answers."""
    from ensemble_mtl.report import doubts, tables, verdicts

    tables.show(summary)
    for verdict in verdicts.headlines(summary):
        print(f"{verdict.task}: {verdict.text}. {verdict.detail}")
    for doubt in doubts.doubts(summary):
        print(f"But: {doubt}")


def exit_code(summary: Summary) -> int:
    """Return 0 if every member has a result, 1 if at least one failed, else 3."""
    if summary.complete:
        return EXIT_COMPLETE
    return EXIT_MEMBER_FAILED if summary.failed else EXIT_INCOMPLETE
