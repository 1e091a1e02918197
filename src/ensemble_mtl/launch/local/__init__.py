"""Worker processes on this machine, one thread each, one GPU each where there are GPUs."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import PositiveInt

from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import EXIT_CHECKPOINTED, EXIT_COMPLETE, TrainingError
from ensemble_mtl.core.runtime.processes import process_started, wait_for_end
from ensemble_mtl.launch.base import AGAIN_SECONDS, Observe, Shard, on_stop_signal
from ensemble_mtl.launch.gpus import gpu_of, gpus_of_host, usable
from ensemble_mtl.launch.local import worker as _worker
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.member_files import record_failure

END_SECONDS = 10.0
"""How long a worker whose connection has ended may take to end itself."""


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
    return len(_gpus(study)) or len(os.sched_getaffinity(0))


def launch(study: Study, shards: Sequence[Shard], options: Options, observe: Observe) -> bool:
    """Run every shard in worker processes (see :mod:`ensemble_mtl.launch.base`).

    Returns:
        whether it came to its end; False if it was interrupted and everything checkpointed.
    """
    return _Pool(study, shards, min(num_workers(study, options), len(shards)), observe).run()


class _Pool:
    """Gives shards to workers as they become free, and replaces workers that die."""

    def __init__(self, study: Study, shards: Sequence[Shard], size: int, observe: Observe) -> None:
        self.study, self.observe, self.size = study, observe, size
        self.waiting = deque(shards)
        self.events: queue.Queue[tuple[_Worker, dict[str, Any] | None]] = queue.Queue()
        self.workers: list[_Worker] = []
        self.interrupted = self.out_of_time = False
        self.asked = 0.0
        self.fault = ""

    def run(self) -> bool:
        with on_stop_signal(self._interrupt):
            self._serve()
        stopped = self.interrupted or self.out_of_time
        if self.waiting and not stopped:
            raise TrainingError(f"no worker is left for {len(self.waiting)} shard(s): {self.fault}")
        return not stopped

    def _serve(self) -> None:
        try:
            for slot in range(self.size):
                self.workers.append(_Worker(self.study, slot, self.events))
            while self.workers:
                worker, event = self.events.get()
                if event is None:
                    self._died(worker)
                elif event["event"] == "idle":
                    self._idle(worker)
                elif event["event"] == "stopped":
                    worker.stopped = True
                else:
                    self.observe(event)
        finally:
            for worker in self.workers:
                worker.signal(signal.SIGKILL)

    def _idle(self, worker: _Worker) -> None:
        worker.shard = None
        if self.waiting and not (self.interrupted or self.out_of_time):
            worker.give(self.waiting.popleft())
        else:
            worker.dismiss()

    def _died(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        code, shard = worker.code(), worker.shard
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if shard is None and code != EXIT_COMPLETE:
            self.fault = f"a worker ended by {how} before it took any; see {worker.log}"
        if code == EXIT_CHECKPOINTED:
            self.out_of_time = True  # or told to stop; others still do what they have
        if shard is None or self.interrupted or code == EXIT_CHECKPOINTED:
            return
        left = tuple(self.study.free(shard.members))
        if shard.attempt < self.study.config.launch.retries and left:
            self.observe({"event": "retry", "members": [m.id for m in left], "error": f"worker ended by {how}"})
            self.waiting.append(replace(shard, members=left, attempt=shard.attempt + 1))
        else:
            for member in left:
                text = f"its worker ended by {how}, {shard.attempt + 1} time(s); see {worker.log}"
                record_failure(self.study, member, text)
                self.observe({"event": "failed", "member": member.id, "error": text})
        if self.waiting:
            try:
                self.workers.append(_Worker(self.study, worker.slot, self.events))
            except TrainingError as error:
                self.fault = str(error)  # the others do what they can

    def _interrupt(self, number: int, frame: object) -> None:
        again = self.interrupted
        if again and time.monotonic() - self.asked < AGAIN_SECONDS:
            return
        self.interrupted, self.asked = True, time.monotonic()
        self.observe({"event": "stopping", "killed": again})
        for worker in self.workers:
            # asked once, a worker finishes its epoch and checkpoints; asked twice, it is killed
            worker.signal(signal.SIGKILL if again else signal.SIGTERM)


class _Worker:
    """One worker process and the thread that reads its events."""

    def __init__(self, study: Study, slot: int, events: queue.Queue[tuple[_Worker, dict[str, Any] | None]]) -> None:
        self.slot, self.shard, self.stopped = slot, None, False
        bound = gpu_of(slot, os.environ, gpus_of_host()) if study.config.train.device != "cpu" else {}
        self.process, self.connection = _worker.start(study.root, bound)
        self.begun = process_started(self.process.pid)
        self.log = _worker.log_of(study.root, self.process.pid)
        threading.Thread(target=self._read, args=(events,), daemon=True).start()
        self._send({"config": study.config.model_dump(mode="json")})

    shard: Shard | None

    def give(self, shard: Shard) -> None:
        """Start the shard."""
        self.shard = shard
        self._send({"members": [member.id for member in shard.members]})

    def dismiss(self) -> None:
        """There is nothing left to do."""
        self._send({"stop": True})

    def code(self) -> int:
        """How it ended, waiting for that: its exit code, or minus the signal that killed it."""
        self.process.join()  # which does not wait where the process that it was forked from is dead
        wait_for_end({self.process.pid: self.begun}, END_SECONDS)
        return EXIT_CHECKPOINTED if self.stopped else int(self.process.exitcode)

    def signal(self, number: signal.Signals) -> None:
        """Send it, also where multiprocessing takes the worker for dead, as what it was forked from is."""
        if self.begun and process_started(self.process.pid) == self.begun:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def _send(self, order: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # it has died; its reader says so
            self.connection.send(order)

    def _read(self, events: queue.Queue[tuple[_Worker, dict[str, Any] | None]]) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                events.put((self, self.connection.recv()))
        events.put((self, None))


def _gpus(study: Study) -> list[str]:
    return [] if study.config.train.device == "cpu" else usable(os.environ, gpus_of_host())[1]
