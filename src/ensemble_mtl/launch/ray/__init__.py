"""Tasks on a Ray cluster: a running one, or one of this process's own.

Shards are Ray tasks that stream their events to this process, the driver. Ray kills the tasks
when the driver dies. Retries are counted here rather than by Ray, so that they are shown, and so
that a shard that always kills its worker ends as failed and not the study with it.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat

from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import EXIT_CHECKPOINTED, EnsembleMTLError, TrainingError
from ensemble_mtl.launch.base import AGAIN_SECONDS, DEADLINE, Observe, Shard, on_stop_signal
from ensemble_mtl.launch.ray.cluster import Cluster, refuse_upload, require
from ensemble_mtl.launch.ray.task import Order, train
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


class Options(registry.Options):
    """Options of the Ray launcher.

    Attributes:
        address: ``host:port`` of a running cluster's head, or ``auto`` for the one of this machine; if left out,
            the environment's ``RAY_ADDRESS``, else an own local cluster.
        cpus_per_shard: CPUs that a shard takes; it uses one.
        gpus_per_shard: share of a GPU that a shard takes; 0.25 puts four shards on each GPU. ``auto`` is a
            whole one if the cluster has any and ``train.device`` allows it.
        connect_seconds: how long to wait for a running cluster's head.
    """

    name: Literal["ray"] = "ray"
    address: str | None = None
    cpus_per_shard: PositiveFloat = 1.0
    gpus_per_shard: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    connect_seconds: PositiveFloat = 60.0


_cluster: Cluster | None = None
_crashes: Counter[str] = Counter()
"""By member: how often its worker crashed, over all rounds of this process."""
_losses: Counter[str] = Counter()


def follow(study: Study, options: Options) -> bool:
    """Join the cluster before data are prepared for it; there are no followers.

    Raises:
        ConfigError: there is no cluster, or it cannot run a shard.
        StudyError: the study lies where it would be lost.
    """
    refuse_upload(study.root)
    if any(not study.result(member).exists() for member in study.members()):
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
    cluster = _connected(study, options)
    where = f"the Ray cluster at {cluster.address}" if cluster.address else "an own Ray cluster on this machine"
    return require(cluster.nodes(), options.cpus_per_shard, _gpus_per_shard(study, options), where)


def launch(study: Study, shards: Sequence[Shard], options: Options, observe: Observe) -> bool:
    """Run every shard as a Ray task (see :mod:`ensemble_mtl.launch.base`).

    Returns:
        whether it came to its end; False if it was interrupted and everything checkpointed.

    Raises:
        StudyError: a node does not see the study directory.
        LostClusterError: the cluster died.
        TrainingError: a worker cannot train at all.
    """
    return _Run(study, options, observe).run(shards)


def release(options: Options) -> None:
    """Leave the cluster; an own one ends."""
    global _cluster
    if _cluster:
        _cluster.close()
    _cluster = None


def _connected(study: Study, options: Options) -> Cluster:
    global _cluster
    if _cluster is None:
        address = options.address or os.environ.get("RAY_ADDRESS") or None
        log = study.root / "logs" / "ray.log"
        _cluster = Cluster(address, options.connect_seconds, log, gpus=study.config.train.device != "cpu")
    return _cluster


def _gpus_per_shard(study: Study, options: Options) -> float:
    if options.gpus_per_shard != "auto":
        return options.gpus_per_shard
    device = study.config.train.device
    wanted = device == "cuda" or (device != "cpu" and any(node.gpus for node in _connected(study, options).nodes()))
    return float(wanted)


class _Run:
    """The shards of one launch."""

    def __init__(self, study: Study, options: Options, observe: Observe) -> None:
        self.study, self.options, self.observe = study, options, observe
        self.cluster = _connected(study, options)
        self.ray = self.cluster.ray
        self.stop_file = study.root / "logs" / f"ray-{uuid.uuid4().hex[:12]}.stop"
        self.gpus = _gpus_per_shard(study, options)
        needs = {"num_cpus": options.cpus_per_shard, "num_gpus": self.gpus, "max_retries": 0}
        # by default a worker that had a GPU ends, and the next one would load torch again
        self.task = {once: self.ray.remote(**needs, max_calls=int(once))(train) for once in (False, True)}
        self.running: set[Any] = set()
        self.interrupted, self.asked, self.out_of_time = False, 0.0, False
        self.fault: BaseException | None = None

    def run(self, shards: Sequence[Shard]) -> bool:
        self.stop_file.touch()
        try:
            return asyncio.run(self._run(shards))
        finally:
            self.stop_file.unlink(missing_ok=True)

    async def _run(self, shards: Sequence[Shard]) -> bool:
        loop = asyncio.get_running_loop()
        # Ray keeps the order, the longest first, and hands the next to whichever worker is free
        with on_stop_signal(lambda *_: loop.call_soon_threadsafe(self._interrupt)):
            work = asyncio.ensure_future(asyncio.gather(*map(self._shard, shards)))
            watch = asyncio.ensure_future(self._watch())
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            work.cancel()
            watch.cancel()
            for found in await asyncio.gather(work, watch, return_exceptions=True):
                if isinstance(found, Exception):
                    self.fault = self.fault or found
        if self.fault:
            raise self.fault
        return not self.interrupted and not self.out_of_time

    async def _shard(self, shard: Shard) -> None:
        errors = self.ray.exceptions
        members, once = shard.members, False
        while members and not self.interrupted and not self.fault:
            try:
                once = await self._attempt(members, once)
                if not once:
                    return
            except errors.RayTaskError as error:
                self._give_up(error)
            except errors.RayError as error:
                members = self._crashed(members, error)
            except EnsembleMTLError as error:
                self._give_up(error)

    async def _attempt(self, members: Sequence[Member], once: bool) -> bool:
        """Train the members in a worker; True if that was bound to another GPU than it was given.

        Args:
            members: of one shard.
            once: whether the worker ends afterwards, so that one that is bound wrongly goes.
        """
        order = Order(
            str(self.study.root),
            self.study.config.model_dump_json(),
            tuple(member.id for member in members),
            str(self.stop_file),
            os.environ.get(DEADLINE, ""),
        )
        stream = self.task[once].remote(order)
        self.running.add(stream)
        try:
            async for reference in stream:
                event = await reference
                if event["event"] == "moved":
                    return True
                if event["event"] != "stopped":
                    self.observe(event)
                else:
                    self.out_of_time = True  # or told to stop; others may still do what takes less
        finally:
            self.running.discard(stream)
        return False

    def _crashed(self, members: Sequence[Member], error: Exception) -> tuple[Member, ...]:
        """The members to try again; those tried too often are failed."""
        if self.interrupted or self.fault:
            return ()
        text = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        count = _losses if isinstance(error, self.ray.exceptions.NodeDiedError) else _crashes
        left = [member for member in members if not self.study.result(member).exists()]
        count.update(member.id for member in left)
        again: list[Member] = []
        over: list[Member] = []
        for member in left:
            most = self.study.config.launch.retries
            spared = _crashes[member.id] <= most and _losses[member.id] <= most + NODE_LOSSES
            (again if spared else over).append(member)
        for member in self.study.free(over):
            why = f"its worker ended, {_crashes[member.id]} time(s), and its node, {_losses[member.id]} time(s): {text}"
            record_failure(self.study, member, why)
            self.observe({"event": "failed", "member": member.id, "error": why})
        if again:
            self.observe({"event": "retry", "members": [member.id for member in again], "error": text})
        return tuple(again)

    def _interrupt(self) -> None:
        again = self.interrupted
        if again and time.monotonic() - self.asked < AGAIN_SECONDS:
            return
        self.interrupted, self.asked = True, time.monotonic()
        self.observe({"event": "stopping", "killed": again})
        self._ask_to_stop()
        for stream in self.running if again else ():
            self.ray.cancel(stream, force=True)

    def _give_up(self, error: BaseException) -> None:
        self.fault = self.fault or _plain(error)
        self._ask_to_stop()

    def _ask_to_stop(self) -> None:
        self.stop_file.write_text("stop")

    async def _watch(self) -> None:
        """Return when the cluster is lost; Ray would wait for ever."""
        seen = time.monotonic()
        while time.monotonic() - seen < LOST_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            if not await asyncio.to_thread(self.cluster.answers):
                lost = "its head does not answer"
                continue
            try:
                nodes = await asyncio.to_thread(self.cluster.nodes)
            except Exception as error:  # of many kinds, as the head goes just now
                lost = f"its head does not tell its nodes ({type(error).__name__}: {error})"
                continue
            if any(node.slots(self.options.cpus_per_shard, self.gpus) for node in nodes):
                seen = time.monotonic()
            else:
                lost = "no node that could run a shard is left"
        self.fault = self.fault or LostClusterError(
            f"the Ray cluster is lost: {lost}; what is finished or checkpointed is safe, the same command continues"
        )


def _plain(error: BaseException) -> BaseException:
    """What went wrong in a worker, as its own error where it is one of this project's."""
    cause = getattr(error, "cause", error)
    if isinstance(cause, EnsembleMTLError):
        return type(cause)(str(cause))
    text = str(cause).strip().splitlines()
    return TrainingError(f"a Ray worker cannot train ({type(cause).__name__}: {text[-1] if text else ''})")
