"""What the ranks of an MPI job do: the lead gives out shards, and all train them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.events import Observe
from ensemble_mtl.launch.base import Shard, StopFlag, deadline_of_environment
from ensemble_mtl.launch.mpi.desk import Desk
from ensemble_mtl.launch.mpi.world import POLL_SECONDS, Message, World
from ensemble_mtl.study.directory import Study
from ensemble_mtl.worker.context import Supervisor
from ensemble_mtl.worker.shard import train_shard
from ensemble_mtl.worker.stack import Interrupted


class Trainer:
    """What every rank does with the shards it is given."""

    def __init__(self, config: Message, root: Path, supervisor: Supervisor) -> None:
        self._study, self._supervisor = Study(StudyConfig.model_validate(config), root), supervisor
        self._planned = {member.id: member for member in self._study.plan()}

    def train(self, ids: Sequence[str]) -> Message:
        """Train the members, and say how it ended."""
        end = train_shard(self._study, [self._planned[member] for member in ids], self._supervisor)
        return {"event": "stopped" if isinstance(end, Interrupted) else "idle"}


class Follower:
    """A rank that does as the lead says.

    Args:
        world: the job.
        signalled: set when this rank is asked to stop.
    """

    def __init__(self, world: World, signalled: StopFlag) -> None:
        self._world, self._signalled = world, signalled
        self._reported = self._stop = False

    def serve(self) -> None:
        """Train what the lead gives, until it lets this rank leave."""
        trainer, supervisor = None, Supervisor(self._tell, self._stopped, deadline_of_environment())
        while "leave" not in (order := self._next()):
            if "config" in order:
                trainer, self._stop = Trainer(order["config"], Path(order["root"]), supervisor), False
            elif "members" in order and trainer:
                self._tell({"event": "stopped"} if self._stopped() else trainer.train(order["members"]))

    def _tell(self, event: Message) -> None:
        self._world.send(0, event)

    def _next(self) -> Message:
        while (received := self._world.receive()) is None:
            self._report()
            time.sleep(POLL_SECONDS)
        return received[1]

    def _stopped(self) -> bool:
        self._report()
        # A rank at work is sent nothing but the request to stop.
        self._stop = self._stop or self._signalled.is_set() or self._world.receive() is not None
        return self._stop

    def _report(self) -> None:
        """Who tells one rank to stop means the job."""
        if self._signalled.is_set() and not self._reported:
            self._reported = True
            self._tell({"event": "asked"})


class Lead:
    """Rank 0: trains in the main thread and serves the others in a second one.

    An MPI that allows no second thread is served between the epochs of the lead's own shards.

    Args:
        world: the job.
        study: prepared.
        shards: in the order in which they are given out.
        observe: receives the ranks' events.
        signalled: set when the lead is asked to stop.
    """

    def __init__(
        self, world: World, study: Study, shards: Sequence[Shard], observe: Observe, signalled: StopFlag
    ) -> None:
        self._world, self._signalled = world, signalled
        self._orders: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._ended = False
        self._fault: BaseException | None = None
        self._desk = Desk(shards, range(world.size), self._send, observe)
        config = study.config.model_dump(mode="json")
        supervisor = Supervisor(self._events.put, self._stopped, deadline_of_environment())
        self._trainer = Trainer(config, study.root, supervisor)
        for rank in range(1, world.size):
            world.send(rank, {"config": config, "root": str(study.root)})

    def run(self) -> bool:
        """Have every shard trained; False if it was interrupted and everything checkpointed."""
        if self._world.threads:
            self._train_beside(threading.Thread(target=self._serve, daemon=True))
        else:
            self._serve_between_epochs()
        return self._desk.complete

    def _train_beside(self, server: threading.Thread) -> None:
        server.start()
        try:
            while "over" not in (order := self._orders.get()):
                self._obey(order)
        finally:
            self._ended = True
            server.join()
        if self._fault:
            raise self._fault

    def _serve(self) -> None:
        try:
            while not (self._desk.over or self._ended):
                if not self._pump():
                    time.sleep(POLL_SECONDS)
        except BaseException as error:
            self._fault = error
        self._orders.put({"over": True})

    def _serve_between_epochs(self) -> None:
        while not self._desk.over:
            if not self._pump():
                time.sleep(POLL_SECONDS)
            if not self._orders.empty():
                self._obey(self._orders.get())

    def _obey(self, order: Message) -> None:
        self._events.put({"event": "stopped"} if self._stopped() else self._trainer.train(order["members"]))

    def _pump(self) -> bool:
        """Take in messages and give out shards; whether there was a message."""
        received_any = False
        if self._signalled.is_set():
            self._desk.stop()
        while not self._events.empty():
            self._desk.take(0, self._events.get())
            received_any = True
        while (received := self._world.receive()) is not None:
            self._desk.take(*received)
            received_any = True
        self._desk.give()
        return received_any

    def _send(self, rank: int, message: Message) -> None:
        if rank:
            self._world.send(rank, message)
        elif "members" in message:  # to stop, the lead needs no message
            self._orders.put(message)

    def _stopped(self) -> bool:
        if not self._world.threads:
            self._pump()
        return self._signalled.is_set() or self._desk.stopping or self._fault is not None
