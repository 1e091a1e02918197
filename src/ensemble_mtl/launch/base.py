"""What every launcher offers: a place where shards run.

A launcher is a module with

* ``Options(registry.Options)``;
* ``num_workers(study, options) -> int`` — how many shards run at a time;
* ``launch(study, shards, options, observe) -> bool`` — make every shard run through
  :func:`ensemble_mtl.shard.run`, wherever that is, and pass the workers' events to
  ``observe``; False if it was asked to stop and everything is checkpointed.

Gather needs nothing from a launcher: results are files. A shard whose worker died is given
to another one up to ``study.config.launch.retries`` times; after that its members are
recorded as failed and the others go on.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ensemble_mtl.plan import Member

Event = dict[str, Any]
Observe = Callable[[Event], None]

SHARDS_PER_WORKER = 4
"""Shards are made small enough that each worker gets about this many, to even out the end."""
LEAST_STACK = 4
"""But not smaller than this: a stack of four trains at nearly the full speed of a large one."""


@dataclass(frozen=True)
class Shard:
    """Members that one worker trains together; of one subset, split and fraction.

    Attributes:
        members: at least one.
        attempt: how often it was started before.
    """

    members: tuple[Member, ...]
    attempt: int = 0

    @property
    def cost(self) -> int:
        """A number that grows with the time the shard takes."""
        first = self.members[0]
        return len(self.members) * (2 + len(first.subset))


def make_shards(members: Sequence[Member], largest: int, num_workers: int) -> list[Shard]:
    """Divide members into shards, the longest first.

    Args:
        members: those left to do, in the plan's order.
        largest: members per shard at most.
        num_workers: how many shards run at a time.
    """
    fair = -(-len(members) // (SHARDS_PER_WORKER * num_workers))
    size = min(largest, max(LEAST_STACK, fair))
    shards = []
    for _, group in itertools.groupby(members, key=lambda m: (m.subset, m.split, m.fraction)):
        same = tuple(group)
        pieces = -(-len(same) // size)
        bounds = [len(same) * piece // pieces for piece in range(pieces + 1)]
        shards += [Shard(same[low:high]) for low, high in itertools.pairwise(bounds)]
    return sorted(shards, key=lambda shard: -shard.cost)
