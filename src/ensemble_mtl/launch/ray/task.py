"""What a Ray worker does: train one shard, and tell the driver as it goes.

Imported by workers before torch, since the number of threads must be known when that is loaded.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.core.events import Event
from ensemble_mtl.core.runtime.this_process import prepare_process
from ensemble_mtl.launch.base import StopFlag, on_stop_signal
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member

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
        deadline: Unix time at which the driver's allocation ends; infinity if it has no end.
    """

    root: str
    config: str
    members: tuple[str, ...]
    stop_file: str
    deadline: float


def train(order: Order) -> Iterator[Event]:
    """Train a shard; yields its events.

    Besides those of :class:`ensemble_mtl.worker.context.Supervisor` there are ``stopped``, and ``moved`` if
    this process is bound to another GPU and cannot do it.

    Raises:
        StudyError: this node does not see the study directory.
    """
    _die_with_raylet()
    _wait_for_sight(order)
    if not _on_its_device():
        yield {"event": "moved"}
        return
    prepare_process()  # for each task anew, since Ray sets OMP_NUM_THREADS to the number of CPUs
    stopping = StopFlag()
    events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
    with on_stop_signal(stopping.set):
        # the main thread yields, so that events arrive at once
        threading.Thread(target=_work, args=(order, events, stopping), daemon=True).start()
        while (event := events.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event


def _work(order: Order, events: queue.SimpleQueue[Event | BaseException | None], stopping: StopFlag) -> None:
    try:
        from ensemble_mtl.worker.context import Supervisor
        from ensemble_mtl.worker.shard import train_shard
        from ensemble_mtl.worker.stack import Interrupted

        study, planned = _study(order.root, order.config)
        stop = StopFile(Path(order.stop_file))
        supervisor = Supervisor(events.put, lambda: stopping.is_set() or stop.raised(), order.deadline)
        members = [planned[member] for member in order.members]
        if stop.raised() or isinstance(train_shard(study, members, supervisor), Interrupted):
            events.put({"event": "stopped"})
    except BaseException as error:
        events.put(error)
    events.put(None)


@contextmanager
def stop_file(root: Path) -> Iterator[Path]:
    """A new stop file of the study with directory ``root``, as long as the driver is there."""
    path = root / "logs" / f"ray-{uuid.uuid4().hex[:12]}.stop"
    path.touch()
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


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
    return study, {member.id: member for member in study.plan()}


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

    assigned = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    if _device is None:
        _device = assigned
    return _device == assigned
