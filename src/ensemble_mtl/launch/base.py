"""What every launcher offers: a place where shards run; and what launchers have in common.

Gather needs nothing from a launcher: results are files. A shard whose worker died is given
to another one up to ``study.config.launch.retries`` times; after that its members are
recorded as failed and the others go on. (An MPI job ends as a whole if a rank dies: there it
is the job script that begins again, and counts.) Claims on the members keep launchers that work on
one study out of each other's way; a launcher need not know of them.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import ConfigError
from ensemble_mtl.core.events import Observe
from ensemble_mtl.core.runtime.this_process import signals_handled
from ensemble_mtl.study.plan import Member

if TYPE_CHECKING:
    from ensemble_mtl.study.directory import Study

SCHEDULER_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)
"""Schedulers send them to every process of a job; SIGUSR2 is LSF's, at the time limit."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, *SCHEDULER_SIGNALS)
"""Ask a launcher to checkpoint everything and end: a person, a scheduler, a job script before its time limit."""

DEADLINE = "ENSEMBLE_MTL_DEADLINE"
"""Environment variable of a job script: Unix time at which its allocation ends."""

AGAIN_SECONDS = 3.0
"""Signals that come closer together count as one: a scheduler's reaches every process, and some pass it on."""

SHARDS_PER_WORKER = 3
"""Shards are made small enough that each worker gets about this many, to even out the end."""
LEAST_STACK = 4
"""But not smaller than this. The smaller the network and its batches, the more a large stack gains."""


@dataclass(frozen=True)
class Shard:
    """Members that one worker trains together; of one weighting, split and fraction, and if not told so of one subset.

    Attributes:
        members: at least one.
        attempt: how often it was started before.
    """

    members: tuple[Member, ...]
    attempt: int = 0

    @property
    def cost(self) -> float:
        """A number that grows with the time the shard takes."""
        heads = set().union(*(member.subset for member in self.members))
        return len(self.members) * (2 + len(heads)) * self.members[0].fraction


def make_shards(members: Sequence[Member], largest: int, num_workers: int, *, mixed: bool = False) -> list[Shard]:
    """Divide members into shards, the longest first.

    Args:
        members: those left to do, in the plan's order.
        largest: members per shard at most.
        num_workers: how many shards run at a time.
        mixed: whether members of different subsets may share one.
    """
    # one worker waits for no other's end, and several subsets share stacks for the sake of large ones
    each = 1 if mixed or num_workers == 1 else SHARDS_PER_WORKER
    fair = -(-len(members) // (each * num_workers))
    size = min(largest, max(LEAST_STACK, fair))
    shards = []

    def kind(member: Member) -> tuple[Any, ...]:
        return (() if mixed else member.subset), member.weighting, member.split, member.fraction

    ordered = sorted(members, key=lambda m: kind(m)[1:]) if mixed else members
    for _, group in itertools.groupby(ordered, key=kind):
        same = tuple(group)
        pieces = -(-len(same) // size)
        bounds = [len(same) * piece // pieces for piece in range(pieces + 1)]
        shards += [Shard(same[low:high]) for low, high in itertools.pairwise(bounds)]
    return sorted(shards, key=lambda shard: -shard.cost)


def deadline_of_environment() -> float:
    """When this process's allocation ends; infinity if nobody says.

    Raises:
        ConfigError: what is said is not a time.
    """
    text = os.environ.get(DEADLINE) or "inf"
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{DEADLINE}: got {text!r}, expected a Unix time in seconds, as `date +%s` prints") from None


class StopFlag:
    """Whether a stop signal came.

    A :class:`threading.Event` takes a lock as it is set: a second signal just then would wait for
    itself, for ever.
    """

    def __init__(self) -> None:
        self._set = False

    def set(self, *_: object) -> None:
        """Remember it; a handler of signals as it is."""
        self._set = True

    def is_set(self) -> bool:
        """Whether it came."""
        return self._set


@contextmanager
def on_stop_signal(handler: Callable[[int, Any], object]) -> Iterator[None]:
    """Let ``handler`` answer the stop signals for a while."""
    with signals_handled(STOP_SIGNALS, handler):
        yield


def members_of_part(
    members: Sequence[Member], largest: int, number: int, count: int, *, mixed: bool = False
) -> list[Member]:
    """The members of part ``number`` of ``count`` (counted from 1): fixed, disjoint, about equally long.

    Args:
        members: the whole plan.
        largest: members per shard at most; a shard is not divided between parts.
        number: which part.
        count: how many there are.
        mixed: as of :func:`make_shards`.
    """
    shards = make_shards(members, largest, count, mixed=mixed)
    return [member for shard in shards[number - 1 :: count] for member in shard.members]


class Launcher(Protocol):
    """A module, or a package, with one launcher; its options come from ``launch.launcher``.

    One that joins something, such as an MPI job or a Ray cluster, has ``follow`` and ``release``.
    """

    Options: type[registry.Options]

    def launch(self, study: Study, shards: Sequence[Shard], options: Any, observe: Observe) -> bool:
        """Make every shard run through :func:`ensemble_mtl.worker.shard.train_shard`, wherever that is.

        Args:
            study: prepared.
            shards: each to be run once.
            options: the module's ``Options``.
            observe: is passed the workers' events.

        Returns:
            False if it was asked to stop, or ran out of time, and everything is checkpointed.
        """

    def num_workers(self, study: Study, options: Any) -> int:
        """How many shards run at a time; 1 if left out."""

    def follow(self, study: Study, options: Any) -> bool:
        """Called first, in every process, before any data are prepared.

        Returns:
            True if this process is not the lead and has done its part, which is to serve shards until it is released;
            False, also if left out, if it is the lead.
        """

    def release(self, options: Any) -> None:
        """Called by the lead at the end, also after an error; left out, there is nothing to release."""


def num_workers(study: Study, options: Any) -> int:
    """One shard runs at a time."""
    return 1


def follow(study: Study, options: Any) -> bool:
    """The process is the lead, since there is no other."""
    return False


def release(options: Any) -> None:
    """Nothing was joined."""


FAMILY = registry.Family[Launcher]("launch", Launcher, num_workers=num_workers, follow=follow, release=release)
