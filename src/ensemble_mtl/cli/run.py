"""``run``: train what is missing, then gather and report."""

from __future__ import annotations

import re
import sys

import click

from ensemble_mtl.cli.common import note, study_arguments
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member

PART_HELP = "Only the K-th of N fixed parts of the plan, for job arrays; e.g. --part 3/7."


def _part(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Read ``K/N`` with 1 ≤ K ≤ N."""
    if value is None:
        return None
    numbers = re.fullmatch(r"(\d+)/(\d+)", value)
    if not numbers or not 1 <= int(numbers[1]) <= int(numbers[2]):
        raise click.BadParameter(f"got {value!r}, expected K/N with K from 1 to N, for example 3/7")
    return int(numbers[1]), int(numbers[2])


@click.command()
@study_arguments(launcher=True)
@click.option("--part", callback=_part, metavar="K/N", help=PART_HELP)
@click.option("--report/--no-report", default=None, help="Gather and report at the end [default: without --part].")
def command(study: Study, part: tuple[int, int] | None, report: bool | None) -> None:
    """Train the members of CONFIG that have no result yet; finished ones are never trained again."""
    from ensemble_mtl.cli.progress import run_progress
    from ensemble_mtl.launch.run import RunOutcome, interrupted_by_stop_signals, run

    members = _members_of_part(study, *part) if part else study.plan()
    if not members:
        return
    with run_progress(study.config.train.epochs) as observe:
        outcome = run(study, members=members, observe=observe, say=note)
    if outcome is RunOutcome.SERVED:
        return
    if outcome is RunOutcome.STOPPED:  # whoever asked to stop does not want to wait for figures
        note("stopped and checkpointed; the same command continues")
    elif report or (report is None and not part):
        from ensemble_mtl.cli.report import make

        with interrupted_by_stop_signals():
            make(study)
    if outcome is RunOutcome.MEMBERS_FAILED:
        failed = sum(study.state(member) == "failed" for member in members)
        note(f"{failed} member(s) failed; their failed.json says why, and the same command tries them again")
    sys.exit(outcome.exit_code)


def _members_of_part(study: Study, number: int, count: int) -> list[Member]:
    """Return the members of part ``number`` of ``count``; a note says so if there are none."""
    from ensemble_mtl.launch.base import members_of_part

    launch, planned = study.config.launch, study.plan()
    members = members_of_part(planned, launch.members_per_shard, number, count, mixed=launch.mix_subsets)
    if not members:
        note(f"part {number}/{count} has no members: the {len(planned)} make fewer shards than parts")
    return members
