"""On ``PYTHONPATH``, makes the training part of an epoch last as long as one wants, and notes times.

Everything else is as it is: shards, claims, loading of data, evaluation, results, and the
training itself, which is done and then waited for. Two modules are changed just after they
are loaded, so that processes which do not train do not load torch for it.

SLOW_EPOCH_SECONDS  length for one member of one task; a stack takes it once per member and task
SLOW_PER_TASK       "0": the same length whatever the number of tasks
SLOW_SPANS          optional; folder for ``<pid>.jsonl``: start and end (Unix time) of each shard and epoch
"""

from __future__ import annotations

import importlib.machinery
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any


def _note(what: str, started: float) -> None:
    if "SLOW_SPANS" not in os.environ:
        return
    line = json.dumps({"what": what, "start": started, "end": time.time()})
    with open(Path(os.environ["SLOW_SPANS"]) / f"{os.getpid()}.jsonl", "a") as file:
        file.write(line + "\n")


def _slow(module: ModuleType) -> None:
    train = module.train_epoch

    def train_epoch(problem: Any, state: Any, weights: Any) -> Any:
        started, clock = time.time(), time.monotonic()
        losses = train(problem, state, weights)
        tasks = 1 if os.environ.get("SLOW_PER_TASK") == "0" else len(problem.model.spec.tasks)
        wanted = float(os.environ["SLOW_EPOCH_SECONDS"]) * len(state) * tasks
        time.sleep(max(0.0, wanted - (time.monotonic() - clock)))
        _note("epoch", started)
        return losses

    module.train_epoch = train_epoch  # type: ignore[attr-defined]


def _noted(module: ModuleType) -> None:
    real = module.train_shard

    def train_shard(*arguments: Any) -> Any:
        started = time.time()
        end = real(*arguments)
        _note("shard", started)
        return end

    module.train_shard = train_shard  # type: ignore[attr-defined]


CHANGES: dict[str, Callable[[ModuleType], None]] = {
    "ensemble_mtl.train.loop": _slow,
    "ensemble_mtl.worker.shard": _noted,
}


class _Finder:
    """Finds two modules as usual, and changes them after they are loaded."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name not in CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            CHANGES[name](module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "SLOW_EPOCH_SECONDS" in os.environ:
    sys.meta_path.insert(0, _Finder)
