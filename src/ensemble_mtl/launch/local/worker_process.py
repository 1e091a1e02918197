"""One local worker as the launcher sees it: a process, a connection, and the shard that it works on."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from typing import Any

from ensemble_mtl.core.errors import EXIT_CHECKPOINTED
from ensemble_mtl.core.runtime.processes import process_started, wait_for_end
from ensemble_mtl.launch.base import Shard
from ensemble_mtl.launch.gpus import gpu_of, gpus_of_host
from ensemble_mtl.launch.local.worker import log_path, start
from ensemble_mtl.study.directory import Study

END_SECONDS = 10.0
"""How long a worker whose connection has ended may take to end itself."""


class WorkerProcess:
    """A worker and the thread that reads its events.

    Args:
        study: prepared.
        slot: number of the worker among those that run at a time; decides on its GPU.
        events: receives this object with each event, and with None at the worker's end.

    Attributes:
        shard: what it works on.
        stopped: whether it said that it has checkpointed and ends.
        log: where it prints.

    Raises:
        TrainingError: it cannot be started.
    """

    def __init__(self, study: Study, slot: int, events: queue.Queue[tuple[WorkerProcess, Any]]) -> None:
        self.slot, self.stopped = slot, False
        self.shard: Shard | None = None
        gpu = gpu_of(slot, os.environ, gpus_of_host()) if study.config.train.device != "cpu" else {}
        self._process, self._connection = start(study.root, gpu)
        self._started = process_started(self._process.pid)
        self.log = log_path(study.root, self._process.pid)
        threading.Thread(target=self._read, args=(events,), daemon=True).start()
        self._send({"config": study.config.model_dump(mode="json")})

    def give(self, shard: Shard) -> None:
        """Let it train the shard."""
        self.shard = shard
        self._send({"members": [member.id for member in shard.members]})

    def dismiss(self) -> None:
        """Let it end, since there is nothing left to do."""
        self._send({"stop": True})

    def exit_code(self) -> int:
        """Wait for its end; its exit code, or minus the signal that killed it."""
        self._process.join()  # which does not wait where the process that it was forked from is dead
        wait_for_end({self._process.pid: self._started}, END_SECONDS)
        return EXIT_CHECKPOINTED if self.stopped else int(self._process.exitcode)

    def send_signal(self, number: signal.Signals) -> None:
        """Send it, also where multiprocessing takes the worker for dead because what it was forked from is."""
        if self._started and process_started(self._process.pid) == self._started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, number)

    def _send(self, order: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it has died; its reader says so
            self._connection.send(order)

    def _read(self, events: queue.Queue[tuple[WorkerProcess, Any]]) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                events.put((self, self._connection.recv()))
        events.put((self, None))
