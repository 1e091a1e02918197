"""A study from its first submission to its last member, launcher by launcher.

======  ===================================================================================
local   one job on all nodes; each node works at a fixed part of the plan (``--part K/N``)
        with the local launcher, and begins it again after it has failed and is back
mpi     one job; shards are handed out to all ranks as they become free; any failing node
        ends the job, which waits in the queue again
ray     one job; shards are handed out to all workers as they become free; a failing node
        costs its shards, unless it is the head's, which ends the job
array   one job per part and GPU, each waiting in the queue on its own, also after a failure
======  ===================================================================================

Retries are unlimited, and a job that was ended, by a node or by the time limit, is submitted
again at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.study.plan import Member
from simulation.cluster import Cluster, Launcher, Spent
from simulation.pool import Pool, Window
from simulation.work import Work

MAX_JOBS = 1000
"""After so many starts of one job the study counts as endless."""


class EndlessError(Exception):
    """The study makes no progress, because of failures or time limits."""


class Simulation:
    """One random course of a study under one launcher.

    Args:
        cluster: the machine.
        launcher: what the launcher costs.
        members: the plan; ids are numbers from 0.
        seconds: ``[n]`` GPU-seconds of each member.
        rng: draws queue waits and failures.
    """

    def __init__(
        self,
        cluster: Cluster,
        launcher: Launcher,
        members: Sequence[Member],
        seconds: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> None:
        self.cluster, self.launcher, self.members, self.rng = cluster, launcher, members, rng
        self.work = Work(members, seconds, cluster)
        self.spent = Spent([0] * len(members))

    def wait(self) -> float:
        """Draw the seconds that a job waits in the queue."""
        return float(self.rng.exponential(self.cluster.queue_wait))

    def started(self, times: int) -> None:
        """Count the start of a job, which is its ``times``-th start.

        Raises:
            EndlessError: the job was started too often.
        """
        self.spent.jobs += 1
        if times > MAX_JOBS:
            raise EndlessError(f"no end after {MAX_JOBS} jobs")

    def pool(self, cluster: Cluster, fatal: Callable[[int], bool]) -> Pool:
        """Return the workers of one job on ``cluster``."""
        return Pool(cluster, self.launcher, fatal, self.rng, self.spent)


def local(simulation: Simulation) -> float:
    """One job with a fixed part for each node; returns the makespan."""
    cluster = simulation.cluster
    nodes = [replace(cluster, gpus=len(cluster.gpus_of(node))) for node in range(cluster.nodes)]
    parts = simulation.work.parts(len(nodes)) if len(nodes) > 1 else [list(simulation.members)]
    now, times = 0.0, 0
    while True:
        now, times = now + simulation.wait(), times + 1
        simulation.started(times)
        until = now + cluster.time_limit
        ends = [_one_node(simulation, node, part, now, until) for node, part in zip(nodes, parts, strict=True)]
        simulation.spent.allocated += cluster.gpus * (max(ends) - now)
        now = max(ends)
        if not simulation.work.open.any():
            return now


def _one_node(simulation: Simulation, node: Cluster, part: Sequence[Member], start: float, until: float) -> float:
    for _ in range(MAX_JOBS):
        outcome = simulation.pool(node, lambda _: True).run(simulation.work, part, Window(start, until))
        start = outcome.time + node.repair
        if outcome.how != "failed":
            return outcome.time
        if start >= until:
            return until
    raise EndlessError(f"no end after {MAX_JOBS} failures of one node")


def mpi(simulation: Simulation) -> float:
    """One job that any failure ends; returns the makespan."""
    return _one_job(simulation, lambda node: True)


def ray(simulation: Simulation) -> float:
    """One job that survives all failures but the head's; returns the makespan."""
    return _one_job(simulation, lambda node: node == 0)


def _one_job(simulation: Simulation, fatal: Callable[[int], bool]) -> float:
    cluster, now, times = simulation.cluster, 0.0, 0
    while True:
        now, times = now + simulation.wait(), times + 1
        simulation.started(times)
        window = Window(now, now + cluster.time_limit)
        outcome = simulation.pool(cluster, fatal).run(simulation.work, simulation.members, window)
        simulation.spent.allocated += cluster.gpus * (outcome.time - now)
        now = outcome.time
        if outcome.how == "done":
            return now


def array(simulation: Simulation) -> float:
    """One job per part, on one GPU; returns the makespan."""
    cluster = simulation.cluster
    alone = replace(cluster, gpus=1)
    parts = simulation.work.parts(cluster.gpus)
    # Slurm starts elements in the order in which they became ready, on whichever GPU is free first
    ready = [(simulation.wait(), k, 1) for k, part in enumerate(parts) if part]
    gpus = [0.0] * cluster.gpus
    heapq.heapify(ready)
    makespan = 0.0
    while ready:
        when, k, times = heapq.heappop(ready)
        simulation.started(times)
        start = max(when, heapq.heappop(gpus))
        window = Window(start, start + cluster.time_limit)
        outcome = simulation.pool(alone, lambda _: True).run(simulation.work, parts[k], window)
        simulation.spent.allocated += outcome.time - start
        heapq.heappush(gpus, outcome.time + (cluster.repair if outcome.how == "failed" else 0.0))
        if outcome.how != "done":
            heapq.heappush(ready, (outcome.time + simulation.wait(), k, times + 1))
        makespan = max(makespan, outcome.time)
    return makespan


MODES: dict[str, Callable[[Simulation], float]] = {"local": local, "mpi": mpi, "ray": ray, "array": array}
