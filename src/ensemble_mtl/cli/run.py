"""``run``: do what is missing, then gather and report."""

from __future__ import annotations

import sys
import time

import click

from ensemble_mtl.cli.common import note, study_arguments
from ensemble_mtl.errors import (
    EXIT_CHECKPOINTED,
    EXIT_COMPLETE,
    EXIT_INCOMPLETE,
    EXIT_MEMBER_FAILED,
    StudyError,
)
from ensemble_mtl.study import Study, counts
from ensemble_mtl.study_files import write_plan


@click.command()
@study_arguments
@click.option("--report/--no-report", default=True, show_default=True, help="Gather and report at the end.")
def command(study: Study, report: bool) -> None:
    """Train the members of CONFIG that have no result yet; finished ones are never trained again."""
    finished = execute(study)
    if not finished:  # whoever asked to stop does not want to wait for figures
        note("stopped and checkpointed; the same command continues")
        sys.exit(EXIT_CHECKPOINTED)
    if report:
        from ensemble_mtl.cli.report import make

        make(study)
    found = counts(study.states())
    if found["failed"]:
        note(f"{found['failed']} member(s) failed; their failed.json says why, and the same command tries them again")
        sys.exit(EXIT_MEMBER_FAILED)
    sys.exit(EXIT_COMPLETE if found["done"] == found["total"] else EXIT_INCOMPLETE)


def execute(study: Study) -> bool:
    """Prepare the data and launch every member that is not done; False if interrupted."""
    from ensemble_mtl.heartbeat import only_one

    with only_one(study.launcher, "running this study"):
        return _execute(study)


def _execute(study: Study) -> bool:
    from ensemble_mtl import registry
    from ensemble_mtl.cli.progress import build_progress, training_progress
    from ensemble_mtl.launch.base import make_shards
    from ensemble_mtl.prepare import prepare

    with build_progress() as progress:
        prepare(study, progress)
    write_plan(study)
    _set_aside_damaged(study)
    _wait_for_silence(study)
    states = study.states()
    left = [member for member in study.members() if states[member.id] != "done"]
    if not left:
        note(f"all {len(states)} members are done already")
        return True
    options = study.config.launch.launcher
    launcher = registry.load("launch", options.name)
    shards = make_shards(left, study.config.launch.members_per_shard, launcher.num_workers(study, options))
    note(f"{study.config.name}: training {len(left)} of {len(states)} members in {study.root}")
    with training_progress(len(states), len(states) - len(left), study.config.train.epochs) as shown:
        return bool(launcher.launch(study, shards, options, shown.observe))


def _wait_for_silence(study: Study) -> None:
    """Let the workers of a launcher that was killed die, or fall silent if they are elsewhere."""
    from ensemble_mtl.heartbeat import SILENCE_SECONDS

    deadline = time.monotonic() + SILENCE_SECONDS + 5
    told = False
    while running := [key for key, state in study.states().items() if state == "running"]:
        if time.monotonic() > deadline:
            raise StudyError(
                f"{study.root}: {len(running)} member(s) are being trained by another process; stop it first"
            )
        if not told:
            note(f"waiting for the workers of an earlier run to end ({len(running)} members show signs of life)")
            told = True
        time.sleep(0.5)


def _set_aside_damaged(study: Study) -> None:
    """Results that are not whole become ``result.damaged``, so that their members are done again."""
    from ensemble_mtl import results
    from ensemble_mtl.errors import StoreError

    for member in study.members():
        path = study.result(member)
        if not path.exists():
            continue
        try:
            results.verify(path.parent)
        except StoreError as error:
            path.replace(path.with_suffix(".damaged"))
            note(f"warning: {error}; set aside, and made again from the checkpoint")
