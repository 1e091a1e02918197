"""One launcher in one job: shards handed out to workers as they become free, and nodes that fail."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ensemble_mtl.launch.base import Shard
from ensemble_mtl.study.plan import Member
from simulation.cluster import Cluster, Launcher, Spent
from simulation.work import Attempt, Work


@dataclass(frozen=True)
class Window:
    """The time that a job has, from ``start`` to ``until`` in seconds."""

    start: float
    until: float = math.inf


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        time: when the job ended, in seconds.
        how: everything is ``done``, a node ``failed`` that takes the job along, or the ``limit`` came.
    """

    time: float
    how: str


class Pool:
    """The workers of one job.

    Args:
        cluster: the machine; its ``gpus`` are those of this job.
        launcher: what the launcher costs.
        fatal: returns whether the failure of a node, counted from 0, ends the job.
        rng: draws the failures.
        spent: receives what is spent.
    """

    def __init__(
        self,
        cluster: Cluster,
        launcher: Launcher,
        fatal: Callable[[int], bool],
        rng: np.random.Generator,
        spent: Spent,
    ) -> None:
        self.cluster, self.launcher, self.fatal, self.rng, self.spent = cluster, launcher, fatal, rng, spent
        self.events: list[tuple[float, int, str, int]] = []
        self.numbers = itertools.count()  # also the order of events at one time
        self.waiting: deque[Shard] = deque()
        self.free: list[int] = []
        self.down: set[int] = set()
        self.running: dict[int, tuple[int, Attempt]] = {}
        self.lead_free = 0.0

    def run(self, work: Work, members: Sequence[Member], window: Window) -> Outcome:
        """Train the unfinished ones of ``members`` within the job's time, and return how the job ended."""
        self.waiting = deque(work.shards(members, self.cluster.gpus))
        if not self.waiting:
            return Outcome(window.start, "done")
        ready = window.start + self.launcher.start
        self.free, self.lead_free = list(range(self.cluster.gpus))[::-1], ready
        self._next_failure(window.start)
        self._push(window.until, "limit")
        self._push(ready, "ready")
        outcome = self._serve(work)
        self.spent.overhead += self.cluster.gpus * (min(outcome.time, ready) - window.start)
        return outcome

    def _serve(self, work: Work) -> Outcome:
        started = False
        while True:
            now, number, kind, which = heapq.heappop(self.events)
            if kind == "limit":
                for _, attempt in self.running.values():
                    attempt.stop(now, self.spent)
                return Outcome(now, "limit")
            if kind == "failure":
                if self._fail(now, which):
                    return Outcome(now, "failed")
            elif kind == "back":
                self.down.discard(which)
                self.free += list(self.cluster.gpus_of(which))
            elif kind == "end":
                if which not in self.running or self.running[which][0] != number:
                    continue  # this shard's node has failed meanwhile
                self.running.pop(which)[1].finish(self.spent)
                self.free.append(which)
            started = started or kind == "ready"
            if started:
                self._hand_out(work, now)
            if not self.waiting and not self.running:
                return Outcome(now, "done")

    def _hand_out(self, work: Work, now: float) -> None:
        while self.waiting and self.free:
            gpu = self.free.pop()
            self.lead_free = max(self.lead_free, now) + self.launcher.hand_out
            attempt = Attempt(work, self.waiting.popleft(), self.lead_free + self.launcher.latency)
            self.running[gpu] = (self._push(attempt.ends, "end", gpu), attempt)

    def _fail(self, now: float, node: int) -> bool:
        self._next_failure(now)
        if node in self.down:
            return False
        self.spent.failures += 1
        gpus = range(self.cluster.gpus) if self.fatal(node) else self.cluster.gpus_of(node)
        for gpu in gpus:
            if gpu in self.running:
                attempt = self.running.pop(gpu)[1]
                attempt.fail(now, self.spent)
                self.waiting.append(attempt.shard)
        if self.fatal(node):
            return True
        lost = set(gpus)
        self.free = [gpu for gpu in self.free if gpu not in lost]
        self.down.add(node)
        self._push(now + self.cluster.repair, "back", node)
        return False

    def _next_failure(self, now: float) -> None:
        if math.isfinite(self.cluster.mtbf):
            after = self.rng.exponential(self.cluster.mtbf / self.cluster.nodes)
            self._push(now + after, "failure", int(self.rng.integers(self.cluster.nodes)))

    def _push(self, time: float, kind: str, which: int = -1) -> int:
        number = next(self.numbers)
        heapq.heappush(self.events, (time, number, kind, which))
        return number
