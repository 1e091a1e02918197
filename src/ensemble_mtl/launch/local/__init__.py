"""Worker processes on this machine, one thread each, one GPU each where there are GPUs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

from pydantic import PositiveInt

from ensemble_mtl.config import registry
from ensemble_mtl.core.events import Observe
from ensemble_mtl.launch.base import Shard, on_stop_signal
from ensemble_mtl.launch.gpus import gpus_of_host, usable
from ensemble_mtl.launch.local.pool import Pool
from ensemble_mtl.study.directory import Study


class Options(registry.Options):
    """Options of the local launcher.

    Attributes:
        workers: number of processes; ``auto`` is one per GPU, else one per usable core.
    """

    name: Literal["local"] = "local"
    workers: PositiveInt | Literal["auto"] = "auto"


def num_workers(study: Study, options: Options) -> int:
    """How many shards run at a time."""
    if options.workers != "auto":
        return options.workers
    gpus = [] if study.config.train.device == "cpu" else usable(os.environ, gpus_of_host())[1]
    return len(gpus) or len(os.sched_getaffinity(0))


def launch(study: Study, shards: Sequence[Shard], options: Options, observe: Observe) -> bool:
    """Run every shard in worker processes (see :mod:`ensemble_mtl.launch.base`).

    Returns:
        whether it came to its end; False if it was interrupted and everything checkpointed.

    Raises:
        TrainingError: no worker can be started, or none is left.
    """
    pool = Pool(study, shards, observe)
    with on_stop_signal(pool.on_stop_signal):
        try:
            pool.start(min(num_workers(study, options), len(shards)))
            while pool.workers:
                pool.answer_next_event()  # an idle worker gets the next shard, a dead one is replaced
        finally:
            pool.kill()
    return pool.is_finished()
