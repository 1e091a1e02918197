"""``run``: do what is missing, then gather and report."""

from __future__ import annotations

import re
import sys
from typing import Any

import click

from ensemble_mtl.cli.common import note, study_arguments
from ensemble_mtl.core.errors import EXIT_CHECKPOINTED, EXIT_COMPLETE, EXIT_INCOMPLETE, EXIT_MEMBER_FAILED
from ensemble_mtl.study.directory import Study, counts
from ensemble_mtl.study.plan import Member

PREPARATION_SECONDS = 1800.0
"""How long to wait while another process prepares the same data."""
PART_HELP = "Only the K-th of N fixed parts of the plan, for job arrays; e.g. --part 3/7."


def _part(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """``K/N`` with 1 ≤ K ≤ N."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", value)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise click.BadParameter(f"got {value!r}, expected K/N with K from 1 to N, for example 3/7")
    return int(found[1]), int(found[2])


@click.command()
@study_arguments(launcher=True)
@click.option("--part", callback=_part, metavar="K/N", help=PART_HELP)
@click.option("--report/--no-report", default=None, help="Gather and report at the end [default: without --part].")
def command(study: Study, part: tuple[int, int] | None, report: bool | None) -> None:
    """Train the members of CONFIG that have no result yet; finished ones are never trained again."""
    from ensemble_mtl.config import registry
    from ensemble_mtl.launch.base import deadline_of_environment, members_of_part, on_stop_signal

    deadline_of_environment()  # a wrong one is told now, once
    launch = study.config.launch
    launcher = registry.load("launch", launch.launcher.name)
    members = study.members()
    if part:
        members = members_of_part(members, launch.members_per_shard, *part, mixed=launch.mix_subsets)
        if not members:
            note(f"part {part[0]}/{part[1]} has no members: the {len(study.members())} make fewer shards than parts")
            return
    if hasattr(launcher, "follow") and launcher.follow(study, launch.launcher):
        return
    with on_stop_signal(_stop):
        try:
            finished = execute(study, members, launcher)
        finally:
            if hasattr(launcher, "release"):
                launcher.release(launch.launcher)
        if not finished:  # whoever asked to stop does not want to wait for figures
            note("stopped and checkpointed; the same command continues")
            sys.exit(EXIT_CHECKPOINTED)
        if report or (report is None and not part):
            from ensemble_mtl.cli.report import make

            make(study)
    _exit(study, members)


def _stop(number: int, frame: object) -> None:
    raise KeyboardInterrupt  # outside of training there is nothing to checkpoint


def _exit(study: Study, members: list[Member]) -> None:
    found = counts({member.id: study.state(member) for member in members})
    if found["failed"]:
        note(f"{found['failed']} member(s) failed; their failed.json says why, and the same command tries them again")
        sys.exit(EXIT_MEMBER_FAILED)
    sys.exit(EXIT_COMPLETE if found["done"] == found["total"] else EXIT_INCOMPLETE)


def execute(study: Study, members: list[Member], launcher: Any) -> bool:
    """Prepare the data and launch every one of ``members`` that is not done; False if interrupted."""
    from ensemble_mtl.cli.progress import build_progress, training_progress
    from ensemble_mtl.data.prepare import prepare
    from ensemble_mtl.launch import rounds
    from ensemble_mtl.study.claims import exclusive
    from ensemble_mtl.study.study_files import write_plan

    with exclusive(study.preparation, "preparing this study", PREPARATION_SECONDS):
        with build_progress() as progress:
            prepare(study, progress)
        write_plan(study)
        _set_aside_damaged(study, members)
    if others := study.orphans():
        note(f"warning: {len(others)} result(s) here belong to another configuration, and to no report of this one")
    left = [member for member in members if not study.result(member).exists()]
    if not left:
        note(f"all {len(members)} members are done already")
        return True
    note(f"{study.config.name}: training {len(left)} of {len(members)} members in {study.root}")
    with training_progress(len(members), len(members) - len(left), study.config.train.epochs) as shown:
        return rounds.run(study, left, launcher, shown.observe, note)


def _set_aside_damaged(study: Study, members: list[Member]) -> None:
    """Results that are not whole become ``result.damaged``, so that their members are done again."""
    from ensemble_mtl.core.errors import StoreError
    from ensemble_mtl.study import results

    for member in members:
        path = study.result(member)
        if not path.exists():
            continue
        try:
            results.verify(path.parent)
        except StoreError as error:
            path.replace(path.with_suffix(".damaged"))
            note(f"warning: {error}; set aside, and made again from the checkpoint")
