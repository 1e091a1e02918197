"""``cancel``: end the jobs that were submitted."""

from __future__ import annotations

import click

from ensemble_mtl.cli.common import json_option, next_step, note, print_json, study_arguments
from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.study.directory import Study


@click.command()
@study_arguments()
@json_option
def command(study: Study, as_json: bool) -> None:
    """End every job of CONFIG that waits or runs; what is finished stays.

    Members in training get the scheduler's grace period (Slurm: KillWait, often 30 s) to checkpoint.
    """
    from ensemble_mtl.cluster import submissions

    submitted = submissions.load_all(study)
    rows = submissions.table(study, submitted)
    unreachable = next((row for row in rows if row["live"] is None), None)
    if unreachable:
        raise StudyError(f"job {unreachable['id']} cannot be cancelled from here: {unreachable['reason']}")
    ended: list[str] = []
    for submission in submitted:
        # first the job that gathers: it would start when the one that trains ends
        live = [row["id"] for row in reversed(rows) if row["name"] == submission.name and row["live"]]
        if live:
            submissions.cancel(study, submission, live)
            ended += live
    if as_json:
        print_json({"study": study.config.name, "directory": str(study.root), "cancelled": ended})
    elif ended:
        print(f"cancelled job {', '.join(ended)}; none of them is requeued")
        note(f"next: {next_step('run')}, or the same submit, continues from the checkpoints")
    else:
        print("no job of this study waits or runs; end a run in a terminal by Ctrl-C or SIGTERM")
