"""The processes that one MPI launcher started: who is who, what each may use, and how all end together.

Nothing here waits inside MPI, whose waiting keeps a core busy: messages are asked for, and
in between the process sleeps.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from ensemble_mtl.core.errors import EXIT_BAD_INPUT, EXIT_MEMBER_FAILED, ConfigError, EnsembleMTLError
from ensemble_mtl.core.runtime.this_process import handle_signals, prepare_process, set_variables
from ensemble_mtl.launch.base import STOP_SIGNALS
from ensemble_mtl.launch.gpus import gpu_of, gpus_of_host
from ensemble_mtl.launch.mpi.start import load, wrong_start
from ensemble_mtl.launch.started import LOCAL_RANKS, RANKS, number_in

POLL_SECONDS = 0.002
"""Sleep between two looks for messages: half a per cent of a core, and no wait that a shard would notice."""
LAST_WORDS_SECONDS = 1.0
"""Pause before the job is aborted: what MPI's launcher has not passed on by then is lost."""
PRECEDENCE_SECONDS = 5.0
"""How long a rank waits for the others to meet the same error before it says so alone."""


Message = dict[str, Any]


class World:
    """All processes of the job; made by :func:`join`.

    Args:
        mpi: the module ``mpi4py.MPI``.

    Attributes:
        rank: number of this process; 0 is the lead.
        size: how many there are.
        threads: whether a thread other than the main one may send and receive.
        failed: whether a fault has ended the job.
        exit_code: of the job, if it is aborted.
        joined: whether this process has one; MPI cannot be left and joined again.
    """

    joined: ClassVar[bool] = False

    def __init__(self, mpi: Any) -> None:
        self._mpi, self._comm = mpi, mpi.COMM_WORLD
        self.rank, self.size = int(self._comm.rank), int(self._comm.size)
        self.threads = bool(mpi.Query_thread() >= mpi.THREAD_SERIALIZED)
        self.failed, self.exit_code = False, EXIT_MEMBER_FAILED
        World.joined = True
        atexit.register(self._abort_unless_left)

    def send(self, rank: int, message: Message) -> None:
        """Send ``message`` to ``rank``."""
        self._comm.Send([json.dumps(message).encode(), self._mpi.BYTE], rank)

    def receive(self) -> tuple[int, Message] | None:
        """The sender and the next message; None if there is none now."""
        status = self._mpi.Status()
        waiting = self._comm.Improbe(status=status)
        if waiting is None:
            return None
        content = bytearray(status.Get_count(self._mpi.BYTE))
        waiting.Recv([content, self._mpi.BYTE])
        return status.Get_source(), json.loads(content)

    def receive_all(self, count: int, what: str) -> bool:
        """Whether ``count`` messages, and no others, come in time; each has ``what`` in it."""
        deadline = time.monotonic() + PRECEDENCE_SECONDS
        while count and time.monotonic() < deadline:
            if received := self.receive():
                if what not in (*received[1], received[1].get("event")):
                    return False
                count -= 1
            else:
                time.sleep(POLL_SECONDS)
        return not count

    def local_rank(self) -> int:
        """Number of this process among those of its host; every rank must call it."""
        ranks_of_host = self._comm.Split_type(self._mpi.COMM_TYPE_SHARED)
        rank = int(ranks_of_host.rank)
        ranks_of_host.Free()
        return rank

    def leave(self) -> None:
        """This process has done its part; returns when all the others say the same."""
        while self.receive():
            pass  # nobody is left to care
        if self.rank:  # srun asks the others to end when the lead exits with 99, and would report that instead
            handle_signals(STOP_SIGNALS, signal.SIG_IGN)
        self._mpi.Finalize()

    @contextmanager
    def fatal(self) -> Iterator[None]:
        """A fault inside ends the whole job, once the command line has printed it.

        From then on this process is deaf to requests to stop. They come at the latest when another rank's end makes
        the launcher end all of them, and the exit code of the job would tell of the signal and not of the fault.
        """
        try:
            yield
        except BaseException as error:
            handle_signals(STOP_SIGNALS, signal.SIG_IGN)
            self.failed, self.exit_code = True, exit_code(error)
            where = f"rank {self.rank} of {self.size} on {socket.gethostname()}"
            print(f"{where} ends the job, for this reason:", file=sys.stderr, flush=True)
            raise

    def _abort_unless_left(self) -> None:
        # Otherwise the exit of this process would wait, in MPI's own, for others that wait for it.
        if not self._mpi.Is_finalized():
            handle_signals(STOP_SIGNALS, signal.SIG_IGN)
            sys.stdout.flush()
            sys.stderr.flush()
            time.sleep(LAST_WORDS_SECONDS)
            self._comm.Abort(self.exit_code)


def join(device: str) -> World:
    """Meet the other processes, and keep to this one's share of the host: one GPU, one thread.

    Args:
        device: ``train.device``; no GPU is looked for if it is ``cpu``.

    Raises:
        ConfigError: there is no MPI here, or the processes were not started by it.
    """
    before = dict(os.environ)

    def bind(local_rank: int) -> None:
        if device != "cpu":
            set_variables(gpu_of(local_rank, before, gpus_of_host()))

    # An MPI that knows of GPUs looks for them as it is loaded, and what it has seen stays; so bind to what the launcher
    # says, if it does, and then to what is so.
    if (local_rank := number_in(before, LOCAL_RANKS)) is not None:
        bind(local_rank)
    mpi = load()
    world = World(mpi)
    if fault := wrong_start(world.size, os.environ):
        mpi.Finalize()
        raise ConfigError(fault)
    prepare_process()
    bind(world.local_rank())
    return world


def let_the_lead_speak(code: int) -> None:
    """Before an error is printed that was met outside of a launch: if all ranks meet it, only the lead says so.

    The other ranks then end here. If not all meet it, the exit of this process, with ``code``,
    ends the job: the others would wait for it in vain.
    """
    asked_for_mpi = "mpi4py" in sys.modules or any(argument.endswith("mpi") for argument in sys.argv)
    if World.joined or not asked_for_mpi or not any(name in os.environ for name in RANKS):
        return
    try:
        world = World(load())  # returns when every rank has come this far, with the error or without
    except ConfigError:
        return  # without MPI nobody waits for anybody
    world.exit_code = code
    if world.rank == 0 and world.receive_all(world.size - 1, "error"):
        for rank in range(1, world.size):
            world.send(rank, {"leave": True})
        world.leave()
    elif world.rank:
        world.send(0, {"event": "error"})
        if world.receive_all(1, "leave"):
            world.leave()
            sys.exit(0)


def exit_code(error: BaseException) -> int:
    """What the job's exit code says of ``error``."""
    if isinstance(error, EnsembleMTLError):
        return error.exit_code
    return EXIT_BAD_INPUT if isinstance(error, OSError) else EXIT_MEMBER_FAILED
