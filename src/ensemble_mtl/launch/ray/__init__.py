"""Tasks on a Ray cluster: a running one, or one of this process's own.

Shards are Ray tasks that stream their events to this process, the driver. Ray kills the tasks
when the driver dies. Retries are counted here rather than by Ray, so that they are shown, and so
that a shard that always kills its worker ends as failed and not the study with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ensemble_mtl.core.events import Observe
from ensemble_mtl.launch.base import Shard
from ensemble_mtl.launch.ray.cluster import refuse_upload
from ensemble_mtl.launch.ray.options import Options
from ensemble_mtl.launch.ray.session import Session
from ensemble_mtl.launch.ray.shard_tasks import ShardTasks
from ensemble_mtl.launch.ray.task import stop_file
from ensemble_mtl.study.directory import Study

__all__ = ["Options", "follow", "launch", "num_workers", "release"]

_session: Session | None = None


def follow(study: Study, options: Options) -> bool:
    """Join the cluster before data are prepared for it; there are no followers.

    Raises:
        ConfigError: there is no cluster, or it cannot run a shard.
        StudyError: the study lies where it would be lost.
    """
    refuse_upload(study.root)
    if study.unfinished(study.plan()):
        try:
            num_workers(study, options)
        except BaseException:
            release(options)
            raise
    return False


def num_workers(study: Study, options: Options) -> int:
    """How many shards the cluster runs at a time.

    Raises:
        ConfigError: there is no cluster, or it cannot run a shard.
    """
    return _joined(study, options).num_slots()


def launch(study: Study, shards: Sequence[Shard], options: Options, observe: Observe) -> bool:
    """Run every shard as a Ray task (see :mod:`ensemble_mtl.launch.base`).

    Returns:
        whether it came to its end; False if it was interrupted and everything checkpointed.

    Raises:
        StudyError: a node does not see the study directory.
        LostClusterError: the cluster died.
        TrainingError: a worker cannot train at all.
    """
    with stop_file(study.root) as path:  # workers on any node stop once something is written into it
        tasks = ShardTasks(study, _joined(study, options), observe, path)
        return asyncio.run(tasks.run(shards))  # Ray gives the next shard to whichever worker is free


def release(options: Options) -> None:
    """Leave the cluster; a private one ends."""
    global _session
    if _session:
        _session.cluster.close()
    _session = None


def _joined(study: Study, options: Options) -> Session:
    global _session
    if _session is None:
        _session = Session(study, options)
    return _session
