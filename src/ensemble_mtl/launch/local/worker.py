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
import threading
import time
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import EXIT_CHECKPOINTED, EXIT_COMPLETE, EXIT_INCOMPLETE, TrainingError
from ensemble_mtl.core.runtime.this_process import (
    children_import_safely,
    handle_signals,
    print_to,
    set_variables,
    short_temporary_folder,
)
from ensemble_mtl.launch.base import STOP_SIGNALS, StopFlag, deadline_of_environment
from ensemble_mtl.study.directory import Study

PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds after each try of a start; what workers are forked from may die, of a lack of memory say, at any time."""


def start(root: Path, gpu: Mapping[str, str]) -> tuple[Any, Connection]:
    """Start a worker.

    Args:
        root: the study directory.
        gpu: variable that binds the worker to its GPU, if it has one.

    Returns:
        its process, a :class:`multiprocessing.Process`, and the connection to it.

    Raises:
        TrainingError: the process that it is to be forked from dies each time.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["ensemble_mtl.launch.local.nursery"])
    for pause in PAUSES:
        ours, workers_end = context.Pipe()
        process = context.Process(target=_main, args=(root, gpu, workers_end))
        try:
            with short_temporary_folder(), children_import_safely():
                process.start()
        except (EOFError, ConnectionError, BlockingIOError):  # died as it was asked, or there is no room for another
            ours.close()  # so that a worker it may have left ends
            time.sleep(pause)
            continue
        finally:
            workers_end.close()
        return process, ours
    raise TrainingError(
        f"no worker can be started: the process that they are forked from died {len(PAUSES)} times; is memory short?"
    )


def _main(root: Path, gpu: Mapping[str, str], connection: Connection) -> None:
    """Serve shards until told to stop, and exit; the process was prepared before it was forked."""
    from ensemble_mtl.worker.context import Supervisor
    from ensemble_mtl.worker.shard import train_shard
    from ensemble_mtl.worker.stack import Interrupted

    stopping = StopFlag()
    handle_signals(STOP_SIGNALS, stopping.set)
    handle_signals([signal.SIGINT], signal.SIG_IGN)  # Ctrl-C reaches the launcher, which decides
    set_variables(gpu)
    print_to(log_path(root, os.getpid()))  # the terminal is the launcher's
    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(connection, orders), daemon=True).start()
    study = Study(StudyConfig.model_validate(orders.get()["config"]), root)
    planned = {member.id: member for member in study.plan()}

    def tell(event: dict[str, Any]) -> None:
        try:
            connection.send(event)
        except OSError:  # the launcher is dead, which is no fault of a member
            os._exit(EXIT_INCOMPLETE)

    supervisor = Supervisor(tell, stopping.is_set, deadline_of_environment())
    tell({"event": "idle"})
    while "stop" not in (order := orders.get()):
        end = train_shard(study, [planned[member] for member in order["members"]], supervisor)
        if isinstance(end, Interrupted):
            tell({"event": "stopped"})  # the exit code is lost where what it was forked from is dead
            sys.exit(EXIT_CHECKPOINTED)
        tell({"event": "idle"})
    sys.exit(EXIT_COMPLETE)


def log_path(root: Path, pid: int) -> Path:
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
