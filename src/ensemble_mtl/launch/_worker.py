"""A worker process of the local launcher: ``python -m ensemble_mtl.launch._worker STUDY``.

The configuration and then shards come as JSON lines on standard input, and events go out as
JSON lines on standard output. When the input ends without ``stop``, the launcher is dead and
so is the worker, at once: nobody else would answer for what it does.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from ensemble_mtl.config import StudyConfig
from ensemble_mtl.errors import EXIT_CHECKPOINTED, EXIT_COMPLETE, EXIT_INCOMPLETE
from ensemble_mtl.launch.base import STOP_SIGNALS, deadline_of_environment
from ensemble_mtl.shard import attempt
from ensemble_mtl.stack import Control, InterruptedTrainingError
from ensemble_mtl.study import Study


def main(root: Path) -> int:
    """Serve shards until told to stop; returns the exit code."""
    stopping = threading.Event()
    for number in STOP_SIGNALS:
        signal.signal(number, lambda *_: stopping.set())  # a handler only sets a flag
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the launcher, which decides
    out = _claim_output(root)

    def tell(event: dict[str, Any]) -> None:
        out.write(json.dumps(event) + "\n")
        out.flush()

    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    study = Study(StudyConfig.model_validate(orders.get()["config"]), root)
    planned = {member.id: member for member in study.members()}
    control = Control(tell, stopping.is_set, deadline_of_environment())
    tell({"event": "idle"})
    while "stop" not in (order := orders.get()):
        try:
            attempt(study, planned, order["members"], control)
        except InterruptedTrainingError:
            return EXIT_CHECKPOINTED
        tell({"event": "idle"})
    return EXIT_COMPLETE


def _claim_output(root: Path) -> TextIO:
    """Keep standard output for events; whatever else is printed goes to the worker's log."""
    logs = root / "logs"
    logs.mkdir(exist_ok=True)
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    log = os.open(logs / f"worker-{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    return events


def _listen(orders: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
        if line.startswith('{"stop"'):
            return
    os._exit(EXIT_INCOMPLETE)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
