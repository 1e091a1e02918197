"""Ranks of an MPI job: ``mpiexec -n 4 python -P -m mpi4py -m ensemble_mtl run CONFIG --launcher mpi``.

Rank 0, the lead, prepares the data, reads what is done, and gives shards to all ranks, itself
included, as they become free. Only what it says counts: no other rank looks for work itself.
If a rank dies, the MPI launcher ends the job, and the same command continues.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

from ensemble_mtl.config import registry
from ensemble_mtl.core.events import Observe
from ensemble_mtl.launch.base import Shard, StopFlag, on_stop_signal
from ensemble_mtl.launch.mpi.world import World, join
from ensemble_mtl.launch.started import SIZES, number_in
from ensemble_mtl.study.directory import Study


class Options(registry.Options):
    """The MPI launcher has no options: ``mpiexec -n`` or ``srun -n`` says how many ranks there are."""

    name: Literal["mpi"] = "mpi"


_world: World | None = None
"""Joined once; MPI cannot be left and joined again."""


def num_workers(study: Study, options: Options) -> int:
    """How many shards run at a time: one per rank."""
    if _world:
        return _world.size
    return number_in(os.environ, SIZES) or 1


def follow(study: Study, options: Options) -> bool:
    """Join the job; as another rank than the lead, serve shards until released.

    Raises:
        ConfigError: there is no MPI here, or the processes were not started by it.
    """
    global _world
    _world = world = join(study.config.train.device)
    if world.rank == 0:
        return False
    signalled = StopFlag()
    with on_stop_signal(signalled.set), world.fatal():
        from ensemble_mtl.launch.mpi.ranks import Follower  # loads torch, which sees the GPU chosen by now

        Follower(world, signalled).serve()
        world.leave()
    return True


def launch(study: Study, shards: Sequence[Shard], options: Options, observe: Observe) -> bool:
    """Run every shard on the ranks (see :mod:`ensemble_mtl.launch.base`).

    Returns:
        whether it came to its end; False if it was interrupted and everything checkpointed.
    """
    world, signalled = _joined(), StopFlag()
    with on_stop_signal(signalled.set), world.fatal():
        from ensemble_mtl.launch.mpi.ranks import Lead  # loads torch, likewise

        return Lead(world, study, shards, observe, signalled).run()


def release(options: Options) -> None:
    """Let the other ranks go; a job that a fault has broken is ended as this process ends."""
    world = _joined()
    if world.failed:
        return
    with on_stop_signal(lambda *_: None), world.fatal():  # all is written; there is nothing left to stop
        for rank in range(1, world.size):
            world.send(rank, {"leave": True})
        world.leave()


def _joined() -> World:
    assert _world is not None, "follow comes first"  # noqa: S101 - every caller runs it
    return _world
