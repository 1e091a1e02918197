"""The shards of one launch as Ray tasks: started, listened to, tried again, and asked to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ensemble_mtl.core.errors import (
    EXIT_CHECKPOINTED,
    EnsembleMTLError,
    TrainingError,
    first_line,
    last_line,
)
from ensemble_mtl.core.events import Observe
from ensemble_mtl.launch.base import Shard, deadline_of_environment, on_stop_signal
from ensemble_mtl.launch.ray.session import Session
from ensemble_mtl.launch.ray.task import Order, train
from ensemble_mtl.launch.stopping import StopRequests
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.member_files import record_failure
from ensemble_mtl.study.plan import Member

LOOK_SECONDS = 5.0
"""How often the driver looks whether the cluster is still there."""
LOST_SECONDS = 30.0
"""After this long without a head, or without any node for a shard, the study gives up."""
NODE_LOSSES = 5
"""So often a shard may lose its node, which is seldom its own fault, beyond the retries."""


class LostClusterError(TrainingError):
    """The cluster died; whatever is finished or checkpointed is safe, and the same command continues."""

    exit_code = EXIT_CHECKPOINTED


class ShardTasks:
    """The tasks of one launch.

    Args:
        study: prepared.
        session: the cluster, and how often members have crashed on it.
        observe: receives the workers' events.
        stop_file: is there and empty; its content asks the workers to stop.
    """

    def __init__(self, study: Study, session: Session, observe: Observe, stop_file: Path) -> None:
        self._study, self._session, self._observe, self._stop_file = study, session, observe, stop_file
        self._ray = session.cluster.ray
        self._gpus = session.gpus_per_shard
        needs = {"num_cpus": session.options.cpus_per_shard, "num_gpus": self._gpus, "max_retries": 0}
        # by default a worker that had a GPU ends, and the next one would load torch again
        self._task = {once: self._ray.remote(**needs, max_calls=int(once))(train) for once in (False, True)}
        self._streams: set[Any] = set()
        self._requests = StopRequests()
        self._out_of_time = False
        self._fault: BaseException | None = None

    async def run(self, shards: Sequence[Shard]) -> bool:
        """Run the shards to their ends, in their order as far as workers are free.

        Returns:
            False if it was interrupted, or ran out of time, and everything is checkpointed.
        """
        loop = asyncio.get_running_loop()
        with on_stop_signal(lambda *_: loop.call_soon_threadsafe(self._on_stop_signal)):
            work = asyncio.ensure_future(asyncio.gather(*map(self._run_shard, shards)))
            watch = asyncio.ensure_future(self._watch_cluster())
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            work.cancel()
            watch.cancel()
            for outcome in await asyncio.gather(work, watch, return_exceptions=True):
                if isinstance(outcome, Exception):
                    self._fault = self._fault or outcome
        if self._fault:
            raise self._fault
        return not self._requests.any and not self._out_of_time

    async def _run_shard(self, shard: Shard) -> None:
        errors = self._ray.exceptions
        members, on_wrong_gpu = shard.members, False
        while members and not self._requests.any and not self._fault:
            try:
                # a worker keeps its GPU, so one on a wrong GPU must end: the task goes to one that ends after it
                on_wrong_gpu = await self._run_task(members, worker_ends_afterwards=on_wrong_gpu)
                if not on_wrong_gpu:
                    return
            except errors.RayTaskError as error:
                self._give_up(error)
            except errors.RayError as error:
                members = self._members_to_retry(members, error)
            except EnsembleMTLError as error:
                self._give_up(error)

    async def _run_task(self, members: Sequence[Member], *, worker_ends_afterwards: bool) -> bool:
        """Train the members in a worker; True if that was bound to another GPU than it was given.

        Args:
            members: of one shard.
            worker_ends_afterwards: whether the worker ends after the task, so that one that is bound wrongly goes.
        """
        order = Order(
            str(self._study.root),
            self._study.config.model_dump_json(),
            tuple(member.id for member in members),
            str(self._stop_file),
            deadline_of_environment(),
        )
        stream = self._task[worker_ends_afterwards].remote(order)
        self._streams.add(stream)
        try:
            async for reference in stream:
                event = await reference
                if event["event"] == "moved":
                    return True
                if event["event"] != "stopped":
                    self._observe(event)
                else:
                    self._out_of_time = True  # or asked to stop; others may still do what takes less
        finally:
            self._streams.discard(stream)
        return False

    def _members_to_retry(self, members: Sequence[Member], error: Exception) -> tuple[Member, ...]:
        """Those to be trained again by another worker; those tried too often are failed."""
        if self._requests.any or self._fault:
            return ()
        crashes, losses = self._session.crashes, self._session.losses
        text = first_line(error, with_type=True)
        unfinished = self._study.unfinished(members)
        count = losses if isinstance(error, self._ray.exceptions.NodeDiedError) else crashes
        count.update(member.id for member in unfinished)
        retries = self._study.config.launch.retries
        again = tuple(
            member
            for member in unfinished
            if crashes[member.id] <= retries and losses[member.id] <= retries + NODE_LOSSES
        )
        for member in self._study.free([member for member in unfinished if member not in again]):
            reason = (
                f"its worker ended, {crashes[member.id]} time(s), and its node, {losses[member.id]} time(s): {text}"
            )
            record_failure(self._study, member, reason)
            self._observe({"event": "failed", "member": member.id, "error": reason})
        if again:
            self._observe({"event": "retry", "members": [member.id for member in again], "error": text})
        return again

    def _on_stop_signal(self) -> None:
        if request := self._requests.add():
            self._observe({"event": "stopping", "killed": request == "kill"})
            self._ask_workers_to_stop()
            for stream in self._streams if request == "kill" else ():
                self._ray.cancel(stream, force=True)

    def _give_up(self, error: BaseException) -> None:
        self._fault = self._fault or _plain(error)
        self._ask_workers_to_stop()

    def _ask_workers_to_stop(self) -> None:
        self._stop_file.write_text("stop")

    async def _watch_cluster(self) -> None:
        """Return when the cluster is lost; Ray would wait for ever."""
        cluster, cpus = self._session.cluster, self._session.options.cpus_per_shard
        last_seen = time.monotonic()
        while time.monotonic() - last_seen < LOST_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            if not await asyncio.to_thread(cluster.answers):
                reason = "its head does not answer"
                continue
            try:
                nodes = await asyncio.to_thread(cluster.nodes)
            except Exception as error:  # of many kinds, as the head goes just now
                reason = f"its head does not list its nodes ({type(error).__name__}: {error})"
                continue
            if any(node.slots(cpus, self._gpus) for node in nodes):
                last_seen = time.monotonic()
            else:
                reason = "no node that could run a shard is left"
        self._fault = self._fault or LostClusterError(
            f"the Ray cluster is lost: {reason}; what is finished or checkpointed is safe, the same command continues"
        )


def _plain(error: BaseException) -> BaseException:
    """What went wrong in a worker, as its own error where it is one of this project's."""
    cause = getattr(error, "cause", error)
    if isinstance(cause, EnsembleMTLError):
        return type(cause)(str(cause))
    return TrainingError(f"a Ray worker cannot train ({last_line(cause, with_type=True)})")
