"""What a Ray worker does: train one shard, and tell the driver as it goes.

Imported by workers before torch, since the number of threads must be known when that is loaded.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.launch.base import DEADLINE, STOP_SIGNALS, StopFlag
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member

Event = dict[str, Any]
STOP_LOOK_SECONDS = 1.0
"""How often a worker looks whether it should stop."""
SIGHT_SECONDS = 30.0
"""How long a network file system may take to show a new file on another node."""

PARENT_LOOK_SECONDS = 1.0

_device: list[str] | None = None
"""The GPU that this process has begun to use; CUDA stays with it."""


class Order(NamedTuple):
    """One shard.

    Attributes:
        root: the study directory.
        config: the study's configuration, as JSON.
        members: identifiers.
        stop_file: exists while the driver lives; no longer empty once it asks to stop.
        deadline: what the driver's environment says of it.
    """

    root: str
    config: str
    members: tuple[str, ...]
    stop_file: str
    deadline: str


def train(order: Order) -> Iterator[Event]:
    """Train a shard; yields its events.

    Besides those of :class:`ensemble_mtl.worker.stack.Control` there are ``stopped``, and ``moved`` if
    this process is bound to another GPU and cannot do it.

    Raises:
        StudyError: this node does not see the study directory.
    """
    _die_with_raylet()
    _wait_for_sight(order)
    if not _on_its_device():
        yield {"event": "moved"}
        return
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # Ray sets the number of CPUs
    if order.deadline:
        os.environ[DEADLINE] = order.deadline
    stopping = StopFlag()
    events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
    # the main thread yields, so that events arrive at once
    former = {n: signal.signal(n, stopping.set) for n in STOP_SIGNALS}
    try:
        threading.Thread(target=_work, args=(order, events, stopping), daemon=True).start()
        while (event := events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _work(order: Order, events: queue.SimpleQueue[Event | BaseException | None], stopping: StopFlag) -> None:
    try:
        import torch

        from ensemble_mtl.launch.base import deadline_of_environment
        from ensemble_mtl.worker.shard import attempt
        from ensemble_mtl.worker.stack import Control, InterruptedTrainingError

        torch.set_num_threads(1)
        study, planned = _study(order.root, order.config)
        stop = StopFile(Path(order.stop_file))
        try:
            control = Control(events.put, lambda: stopping.is_set() or stop.raised(), deadline_of_environment())
            if stop.raised():
                raise InterruptedTrainingError("stopped before it began")
            attempt(study, planned, order.members, control)
        except InterruptedTrainingError:
            events.put({"event": "stopped"})
    except BaseException as error:
        events.put(error)
    events.put(None)


class StopFile:
    """Asks workers on any node to stop, once it is no longer empty.

    It is there from the beginning and is opened at every look: network file systems remember for
    up to a minute that a file is missing, but ask the server about one that is opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._next, self._raised = 0.0, False

    def raised(self) -> bool:
        """Whether workers should stop; looks at most once in :data:`STOP_LOOK_SECONDS`."""
        if not self._raised and time.monotonic() >= self._next:
            self._next = time.monotonic() + STOP_LOOK_SECONDS
            try:
                with open(self.path, "rb") as file:
                    self._raised = os.fstat(file.fileno()).st_size > 0
            except FileNotFoundError:
                self._raised = True  # the driver has left
            except OSError:
                pass  # a server that is away may be back at the next look
        return self._raised


@lru_cache(maxsize=1)
def _study(root: str, config: str) -> tuple[Study, Mapping[str, Member]]:
    study = Study(StudyConfig.model_validate(json.loads(config)), Path(root))
    return study, {member.id: member for member in study.members()}


def _wait_for_sight(order: Order) -> None:
    deadline = time.monotonic() + SIGHT_SECONDS
    while not os.path.exists(order.stop_file):
        if time.monotonic() > deadline or not os.path.isdir(os.path.dirname(order.root)):
            raise StudyError(
                f"{order.root}: node {socket.gethostname()} does not see this study directory; the nodes of a Ray "
                "cluster must share it: choose a folder on a shared file system with --out"
            )
        time.sleep(0.5)


@cache
def _die_with_raylet() -> None:
    """Ray lets a worker finish its task if the node's raylet was killed; but nobody would hear of it."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _on_its_device() -> bool:
    global _device
    import ray

    given = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    if _device is None:
        _device = given
    return _device == given
