"""The members that are left to train, and the shards that the launchers really make of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.launch.base import Shard, make_shards
from ensemble_mtl.study.plan import Member
from simulation.cluster import EPOCH_SAFETY, Cluster, Spent


class Work:
    """Members with the seconds that each still needs on one GPU.

    Args:
        members: the plan; a member's ``id`` is its number in it.
        seconds: ``[n]`` GPU-seconds that each member takes, as its share of its stack's time.
        cluster: says how long epochs and checkpoints take.
    """

    def __init__(self, members: Sequence[Member], seconds: NDArray[np.float64], cluster: Cluster) -> None:
        self.members, self.seconds, self.cluster = members, seconds, cluster
        self.seconds_left = seconds.copy()
        self.open = np.ones(len(seconds), dtype=bool)

    def shards(self, members: Iterable[Member], num_workers: int) -> list[Shard]:
        """Return the shards of the unfinished members, in the order in which they are handed out."""
        unfinished = [member for member in members if self.open[int(member.id)]]
        return make_shards(unfinished, self.cluster.members_per_shard, num_workers)

    def parts(self, count: int) -> list[list[Member]]:
        """Return the parts of the plan, as ``--part K/count`` divides it (``launch.base.members_of_part``)."""
        shards = make_shards(self.members, self.cluster.members_per_shard, count)
        return [[member for shard in shards[k::count] for member in shard.members] for k in range(count)]


@dataclass
class Attempt:
    """A shard on a worker.

    Attributes:
        work: the work that the shard is part of.
        shard: its members.
        received: when the worker received the shard, in seconds.
    """

    work: Work
    shard: Shard
    received: float

    def __post_init__(self) -> None:
        cluster = self.work.cluster
        self.rows = [int(member.id) for member in self.shard.members]
        self.needs = float(self.work.seconds_left[self.rows].sum())
        self.epoch = float(self.work.seconds[self.rows].sum()) / cluster.epochs
        # a checkpoint is taken at the end of the epoch in which it is due
        due = cluster.checkpoint_every
        self.period = due if math.isinf(due) or self.epoch == 0 else max(1, _ceil(due / self.epoch)) * self.epoch
        self.begins = self.received + cluster.shard_start

    @property
    def ends(self) -> float:
        """When the shard is finished, in seconds, if nothing goes wrong."""
        return self.begins + self.needs + self._checkpoints * self.work.cluster.checkpoint_cost

    @property
    def _checkpoints(self) -> int:
        return max(0, _ceil(self.needs / self.period) - 1)  # the last period ends with the result

    def finish(self, spent: Spent) -> None:
        """Count the members as finished."""
        cluster = self.work.cluster
        spent.useful += self.needs
        spent.overhead += cluster.shard_start + self._checkpoints * cluster.checkpoint_cost
        self.work.seconds_left[self.rows] = 0.0
        self.work.open[self.rows] = False
        for row in self.rows:
            spent.finished[row] += 1

    def fail(self, now: float, spent: Spent) -> None:
        """Go back to the last checkpoint, since the node fails at ``now``."""
        now = max(now, self.received)
        spent.overhead += min(now, self.begins) - self.received
        elapsed = now - self.begins
        if elapsed <= 0:
            return
        cost = self.work.cluster.checkpoint_cost
        saved, within = _divide(elapsed, self.period + cost)
        trained = min(within, self.period)
        spent.overhead += saved * cost + within - trained
        spent.lost += trained
        self._keep(saved * self.period if saved else 0.0, spent)

    def stop(self, now: float, spent: Spent) -> None:
        """Keep the epochs that were sure to end before the job's time ends at ``now``; they are checkpointed."""
        now = max(now, self.received)
        spent.overhead += min(now, self.begins) - self.received
        elapsed = now - self.begins
        cost = self.work.cluster.checkpoint_cost
        epochs = math.floor((elapsed - cost) / self.epoch - (EPOCH_SAFETY - 1) + 1e-9) if self.epoch else 0
        trained = max(0, epochs) * self.epoch
        if trained == 0:
            return
        between = max(0, _ceil(trained / self.period) - 1)
        # the time of the checkpoints on the way is missing for training
        trained = max(0.0, trained - math.ceil(between * cost / self.epoch) * self.epoch)
        spent.overhead += (between + 1) * cost
        self._keep(min(trained, self.needs), spent)

    def _keep(self, seconds: float, spent: Spent) -> None:
        spent.useful += seconds
        if self.needs:
            self.work.seconds_left[self.rows] *= 1 - seconds / self.needs


def _ceil(value: float) -> int:
    """Return the value rounded up, unless it is above an integer by a rounding error only."""
    return math.ceil(value * (1 - 1e-12))


def _divide(value: float, by: float) -> tuple[int, float]:
    """Return the number of whole periods ``by`` in ``value``, and the remainder."""
    whole = 0 if math.isinf(by) else int(value // by)
    return whole, value - whole * by if whole else value
