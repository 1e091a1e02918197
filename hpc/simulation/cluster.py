"""What is simulated: a cluster, how a launcher behaves on it, and what was spent."""

from __future__ import annotations

import math
from dataclasses import dataclass

EPOCH_SAFETY = 1.2
"""As in ``ensemble_mtl.worker.stack.SAFETY``: an epoch is begun if this many of its length are left."""


@dataclass(frozen=True)
class Cluster:
    """The machine and the settings that all launchers share; all times in seconds.

    Attributes:
        gpus: number of GPUs, of which each has a worker.
        gpus_per_node: number of GPUs that fail with a node; the last node may have fewer.
        mtbf: mean time between failures of one node; they are exponential and independent.
        repair: time until a failed node is back.
        queue_wait: mean of the exponential wait before each job starts.
        time_limit: time limit of a job.
        checkpoint_every: shortest time between two checkpoints of a shard, ``train.checkpoint_seconds``.
        checkpoint_cost: time that a checkpoint takes.
        shard_start: time to load data and model, each time that a shard is begun.
        epochs: number of epochs of a member; checkpoints and stops fall between epochs.
        members_per_shard: ``launch.members_per_shard``.
    """

    gpus: int
    gpus_per_node: int = 4
    mtbf: float = math.inf
    repair: float = 600.0
    queue_wait: float = 0.0
    time_limit: float = math.inf
    checkpoint_every: float = 60.0
    checkpoint_cost: float = 0.0
    shard_start: float = 0.0
    epochs: int = 200
    members_per_shard: int = 12

    @property
    def nodes(self) -> int:
        """The number of nodes."""
        return -(-self.gpus // self.gpus_per_node)

    def gpus_of(self, node: int) -> range:
        """Return the numbers of a node's GPUs."""
        start = node * self.gpus_per_node
        return range(start, min(start + self.gpus_per_node, self.gpus))


@dataclass(frozen=True)
class Launcher:
    """Measured costs of a launcher, in seconds.

    Attributes:
        start: from the start of its job until its workers can take a shard.
        hand_out: the lead's time per shard; the lead does one at a time.
        latency: between a worker's shards, without keeping the lead busy.
    """

    start: float = 0.0
    hand_out: float = 0.0
    latency: float = 0.0


@dataclass
class Spent:
    """GPU-seconds and events of one simulated study. What is allocated and none of these is idle.

    Attributes:
        useful: training that lasts; in the end the sum of the members' times.
        lost: training that a failure undid.
        overhead: starts of launchers and shards, and checkpoints.
        allocated: what the scheduler would charge.
        failures: of nodes while they were allocated.
        jobs: how often the scheduler started one.
        finished: how often each member was finished, by its number.
    """

    finished: list[int]
    useful: float = 0.0
    lost: float = 0.0
    overhead: float = 0.0
    allocated: float = 0.0
    failures: int = 0
    jobs: int = 0

    @property
    def idle(self) -> float:
        """Allocated GPU-seconds in which nothing was done."""
        return self.allocated - self.useful - self.lost - self.overhead

    @property
    def efficiency(self) -> float:
        """Useful share of what was allocated."""
        return self.useful / self.allocated
