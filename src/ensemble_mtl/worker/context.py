"""What the stacks of one shard have in common, and how a shard talks with the launcher that runs it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ensemble_mtl.core.events import Observe
from ensemble_mtl.data.prepare import Prepared
from ensemble_mtl.study.claims import Keeper
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member
from ensemble_mtl.train.step import Problem


@dataclass(frozen=True)
class Supervisor:
    """The launcher that runs a shard, as the shard sees it.

    Attributes:
        report: receives the events of a shard that :mod:`ensemble_mtl.core.events` lists.
        stop_requested: is called after every epoch; if it returns True, all is checkpointed and training ends.
        deadline: Unix time in seconds at which the machine is taken away; an epoch that cannot end before is not begun.
    """

    report: Observe
    stop_requested: Callable[[], bool]
    deadline: float = math.inf


@dataclass(frozen=True)
class ShardContext:
    """What the stacks of one shard have in common.

    Attributes:
        study: the study, in whose directory all files are written.
        problem: model and data, with a head for every task that any member of the shard learns.
        prepared: the data of the split, with their normalisers.
        supervisor: the launcher that runs the shard.
        keeper: holds the claims on the members.
    """

    study: Study
    problem: Problem
    prepared: Prepared
    supervisor: Supervisor
    keeper: Keeper

    def holds(self, member: Member) -> bool:
        """Return True if this process holds the member, and False if another has taken it over after a silence."""
        return self.keeper.held(self.study.claim_file(member))

    def release(self, member: Member) -> None:
        """Give up the claim on the member, since its training has ended."""
        self.keeper.release(self.study.claim_file(member))
