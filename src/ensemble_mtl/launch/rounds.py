"""Rounds of launching: what others hold is waited for, and taken over if they are dead."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from ensemble_mtl.core.events import Observe
from ensemble_mtl.launch.base import Launcher, make_shards
from ensemble_mtl.study.claims import POLL_SECONDS, SILENCE_SECONDS, file_system_time, holder
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member

PATIENCE_SECONDS = SILENCE_SECONDS + 5.0
"""After this long whoever still holds a claim is alive, and its members are its to finish."""
FRUITLESS_ROUNDS = 3
"""Rounds in a row in which nothing ended, for whatever reason, before it is left at that."""


def run(
    study: Study, members: Sequence[Member], launcher: Launcher, observe: Observe, say: Callable[[str], None]
) -> bool:
    """Launch until each of ``members`` is done, has failed in this run, or is another living process's.

    Args:
        study: prepared.
        members: those to be done; finished ones may be among them.
        launcher: where they run.
        observe: receives the workers' events.
        say: receives lines for a person.

    Returns:
        False if it was asked to stop, or ran out of time, and everything is checkpointed.
    """
    config, options = study.config.launch, study.config.launch.launcher
    left, fruitless = list(members), 0
    while left and fruitless < FRUITLESS_ROUNDS:
        free = _free(study, left, say)
        if not free:
            return True
        shards = make_shards(
            free, config.members_per_shard, launcher.num_workers(study, options), mixed=config.mix_subsets
        )
        if shards and not launcher.launch(study, shards, options, observe):
            return False
        failed = {member.id for member in free if study.state(member) == "failed"}
        before = len(left)
        left = [member for member in study.unfinished(left) if member.id not in failed]
        fruitless = 0 if len(left) < before else fruitless + 1
    return True


def _free(study: Study, left: Sequence[Member], say: Callable[[str], None]) -> list[Member]:
    """The members that nobody living holds, as soon as there are any; none if others keep them all."""
    deadline, announced = time.monotonic() + PATIENCE_SECONDS, False
    while True:
        now = file_system_time(study.root)
        holders = [holder(study.claim_file(member), now) for member in left]
        free = [member for member, living in zip(left, holders, strict=True) if not living]
        if free:
            return free
        names = sorted({f"process {living.pid} on {living.host}" for living in holders if living})
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        if time.monotonic() > deadline:
            say(f"{len(left)} member(s) are in training by {shown}, and are left to it")
            return []
        if not announced:
            say(f"waiting for {len(left)} member(s) claimed by {shown}, to take over if it is dead")
            announced = True
        time.sleep(POLL_SECONDS)
