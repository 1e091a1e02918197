"""The launcher's side of local workers: gives them shards as they become free, and replaces those that die."""

from __future__ import annotations

import queue
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from ensemble_mtl.core.errors import EXIT_CHECKPOINTED, EXIT_COMPLETE, TrainingError
from ensemble_mtl.core.events import Observe
from ensemble_mtl.launch.base import Shard
from ensemble_mtl.launch.local.worker_process import WorkerProcess
from ensemble_mtl.launch.stopping import StopRequests
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.member_files import record_failure


class Pool:
    """Workers, and the shards that wait for one.

    Args:
        study: prepared.
        shards: in the order in which they are given out.
        observe: receives the workers' events.

    Attributes:
        workers: those that have not ended.
    """

    def __init__(self, study: Study, shards: Sequence[Shard], observe: Observe) -> None:
        self.workers: list[WorkerProcess] = []
        self._study, self._observe = study, observe
        self._waiting = deque(shards)
        self._events: queue.Queue[tuple[WorkerProcess, dict[str, object] | None]] = queue.Queue()
        self._requests = StopRequests()
        self._out_of_time = False
        self._fault = ""

    def start(self, size: int) -> None:
        """Start so many workers; each says that it is idle when it is ready.

        Raises:
            TrainingError: they cannot be started.
        """
        for slot in range(size):
            self.workers.append(WorkerProcess(self._study, slot, self._events))

    def answer_next_event(self) -> None:
        """Wait for the next event of a worker, and do what follows from it."""
        worker, event = self._events.get()
        if event is None:
            self._worker_ended(worker)
        elif event["event"] == "idle":
            self._worker_is_idle(worker)
        elif event["event"] == "stopped":
            worker.stopped = True
        else:
            self._observe(event)

    def on_stop_signal(self, number: int, frame: object) -> None:
        """Let the workers checkpoint after their epoch; asked again, kill them."""
        if request := self._requests.add():
            self._observe({"event": "stopping", "killed": request == "kill"})
            for worker in self.workers:
                worker.send_signal(signal.SIGKILL if request == "kill" else signal.SIGTERM)

    def kill(self) -> None:
        """End the workers that are left."""
        for worker in self.workers:
            worker.send_signal(signal.SIGKILL)

    def is_finished(self) -> bool:
        """Whether every shard was given out; False if it was stopped before, or ran out of time.

        Raises:
            TrainingError: no worker is left for those that wait.
        """
        stopped = self._requests.any or self._out_of_time
        if self._waiting and not stopped:
            raise TrainingError(f"no worker is left for {len(self._waiting)} shard(s): {self._fault}")
        return not stopped

    def _worker_is_idle(self, worker: WorkerProcess) -> None:
        worker.shard = None
        if self._waiting and not (self._requests.any or self._out_of_time):
            worker.give(self._waiting.popleft())
        else:
            worker.dismiss()

    def _worker_ended(self, worker: WorkerProcess) -> None:
        self.workers.remove(worker)
        code, shard = worker.exit_code(), worker.shard
        reason = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if shard is None and code != EXIT_COMPLETE:
            self._fault = f"a worker ended by {reason} before it took any; see {worker.log}"
        if code == EXIT_CHECKPOINTED:
            self._out_of_time = True  # or asked to stop; others still do what they have
        if shard is None or self._requests.any or code == EXIT_CHECKPOINTED:
            return
        self._retry_or_fail(shard, reason, worker)
        if self._waiting:
            try:
                self.workers.append(WorkerProcess(self._study, worker.slot, self._events))
            except TrainingError as error:
                self._fault = str(error)  # the others do what they can

    def _retry_or_fail(self, shard: Shard, reason: str, worker: WorkerProcess) -> None:
        """Let what its dead worker left of a shard wait for another one, or fail if that was tried too often."""
        unfinished = tuple(self._study.free(shard.members))
        if unfinished and shard.attempt < self._study.config.launch.retries:
            members = [member.id for member in unfinished]
            self._observe({"event": "retry", "members": members, "error": f"worker ended by {reason}"})
            self._waiting.append(replace(shard, members=unfinished, attempt=shard.attempt + 1))
            return
        for member in unfinished:
            text = f"its worker ended by {reason}, {shard.attempt + 1} time(s); see {worker.log}"
            record_failure(self._study, member, text)
            self._observe({"event": "failed", "member": member.id, "error": text})
