"""What the Ray launcher keeps from one round to the next: the cluster, and who has crashed on it."""

from __future__ import annotations

import os
from collections import Counter

from ensemble_mtl.launch.ray.cluster import Cluster, require
from ensemble_mtl.launch.ray.options import Options
from ensemble_mtl.study.directory import Study


class Session:
    """A connection to the cluster that the options name.

    Args:
        study: whose shards are to run.
        options: which cluster, and what a shard takes of it.

    Attributes:
        cluster: the connection.
        crashes: by member, how often its worker crashed.
        losses: by member, how often the node of its worker was lost.

    Raises:
        ConfigError: there is no such cluster, or it does not let this process in.
    """

    def __init__(self, study: Study, options: Options) -> None:
        self.options, self._device = options, study.config.train.device
        address = options.address or os.environ.get("RAY_ADDRESS") or None
        log = study.root / "logs" / "ray.log"
        self.cluster = Cluster(address, options.connect_seconds, log, gpus=self._device != "cpu")
        self.crashes: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()

    @property
    def gpus_per_shard(self) -> float:
        """Share of a GPU that a shard takes."""
        if self.options.gpus_per_shard != "auto":
            return self.options.gpus_per_shard
        if self._device == "cpu":
            return 0.0
        return float(self._device == "cuda" or any(node.gpus for node in self.cluster.nodes()))

    def num_slots(self) -> int:
        """How many shards the cluster runs at a time.

        Raises:
            ConfigError: it cannot run any.
        """
        address = self.cluster.address
        where = f"the Ray cluster at {address}" if address else "a private Ray cluster on this machine"
        return require(self.cluster.nodes(), self.options.cpus_per_shard, self.gpus_per_shard, where)
