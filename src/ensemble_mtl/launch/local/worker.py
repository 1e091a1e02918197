"""A worker process of the local launcher, forked from where torch is loaded already.

The configuration and then shards come over its connection, and events go back. When the
connection ends without ``stop``, the launcher is dead and so is the worker, at once: nobody
else would answer for what it does.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import EXIT_CHECKPOINTED, EXIT_COMPLETE, EXIT_INCOMPLETE, TrainingError
from ensemble_mtl.launch.base import STOP_SIGNALS, StopFlag, deadline_of_environment
from ensemble_mtl.study.directory import Study

LONGEST_FOLDER = 70
"""Of a socket's name, which may have 107 characters."""
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds after each try of a start; what workers are forked from may die, of a lack of memory say, at any time."""


def start(root: Path, environment: Mapping[str, str]) -> tuple[Any, Connection]:
    """Start a worker.

    Args:
        root: the study directory.
        environment: variables that are the worker's own.

    Returns:
        its process, a :class:`multiprocessing.Process`, and the connection to it.

    Raises:
        TrainingError: the process that it is to be forked from dies each time.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["ensemble_mtl.launch.local.nursery"])
    for pause in PAUSES:
        mine, its = context.Pipe()
        process = context.Process(target=_main, args=(root, environment, its))
        try:
            with _short_temporary_folder():
                process.start()
        except (EOFError, ConnectionError, BlockingIOError):  # died as it was asked, or there is no room for another
            mine.close()  # so that a worker it may have left ends
            time.sleep(pause)
            continue
        finally:
            its.close()
        return process, mine
    raise TrainingError(
        f"no worker can be started: the process that they are forked from died {len(PAUSES)} times; is memory short?"
    )


def _main(root: Path, environment: Mapping[str, str], connection: Connection) -> None:
    """Serve shards until told to stop, and exit."""
    from ensemble_mtl.worker.shard import attempt
    from ensemble_mtl.worker.stack import Control, InterruptedTrainingError

    stopping = StopFlag()
    for number in STOP_SIGNALS:
        signal.signal(number, stopping.set)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the launcher, which decides
    os.environ.update(environment)
    _print_to_log(root)
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(connection, orders), daemon=True).start()
    study = Study(StudyConfig.model_validate(orders.get()["config"]), root)
    planned = {member.id: member for member in study.members()}

    def tell(event: dict[str, Any]) -> None:
        try:
            connection.send(event)
        except OSError:  # the launcher is dead, which is no fault of a member
            os._exit(EXIT_INCOMPLETE)

    control = Control(tell, stopping.is_set, deadline_of_environment())
    tell({"event": "idle"})
    while "stop" not in (order := orders.get()):
        try:
            attempt(study, planned, order["members"], control)
        except InterruptedTrainingError:
            tell({"event": "stopped"})  # the exit code is lost where what it was forked from is dead
            sys.exit(EXIT_CHECKPOINTED)
        tell({"event": "idle"})
    sys.exit(EXIT_COMPLETE)


def _print_to_log(root: Path) -> None:
    """Whatever is printed goes to the worker's log: the terminal is the launcher's."""
    path = log_of(root, os.getpid())
    path.parent.mkdir(exist_ok=True)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())


def log_of(root: Path, pid: int) -> Path:
    """Where the worker with this process number prints."""
    return root / "logs" / f"worker-{pid}.log"


def _listen(connection: Connection, orders: queue.Queue[dict[str, Any]]) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            order = connection.recv()
            orders.put(order)
            if "stop" in order:
                return
    os._exit(EXIT_INCOMPLETE)


@contextlib.contextmanager
def _short_temporary_folder() -> Iterator[None]:
    """Where a job's own folder for temporary files has a long name, its sockets' names would be too long."""
    former = tempfile.tempdir
    if len(tempfile.gettempdir()) > LONGEST_FOLDER:
        tempfile.tempdir = "/tmp"  # noqa: S108 - a folder of its own is made there, for this user alone
    try:
        yield
    finally:
        tempfile.tempdir = former
