"""A worker process of the local launcher: ``python -m ensemble_mtl.launch._worker STUDY``.

Shards come as JSON lines on standard input and events go out as JSON lines on standard
output. When the input ends without ``stop``, the launcher is dead and so is the worker, at
once: a study that is started again must not find its members still in training.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, TextIO

from ensemble_mtl import config_file, shard
from ensemble_mtl.errors import EXIT_CHECKPOINTED, EXIT_COMPLETE, EXIT_INCOMPLETE, EnsembleMTLError
from ensemble_mtl.member_files import record_failure
from ensemble_mtl.stack import Control, InterruptedTrainingError
from ensemble_mtl.study import Study


def main(root: Path) -> int:
    """Serve shards until told to stop; returns the exit code."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())  # a handler only sets a flag
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the launcher, which decides
    out = _claim_output(root)

    def tell(event: dict[str, Any]) -> None:
        out.write(json.dumps(event) + "\n")
        out.flush()

    orders: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    study = Study(config_file.load(root / "resolved.yaml"), root)
    planned = {member.id: member for member in study.members()}
    tell({"event": "idle"})
    while True:
        order = orders.get()
        if "stop" in order:
            return EXIT_COMPLETE
        left = [planned[key] for key in order["members"] if not study.result(planned[key]).exists()]
        try:
            if left:
                shard.run(study, left, Control(tell, stopping.is_set))
        except InterruptedTrainingError:
            return EXIT_CHECKPOINTED
        except Exception as error:
            # a fault of this shard; the other shards go on
            known = isinstance(error, EnsembleMTLError | OSError)
            text = str(error) if known else f"{type(error).__name__}: {error}"
            for member in left:
                if not study.result(member).exists():
                    record_failure(study, member, text, "" if known else traceback.format_exc())
                    tell({"event": "failed", "member": member.id, "error": text})
        tell({"event": "idle"})


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
        if "stop" in line:
            return
    os._exit(EXIT_INCOMPLETE)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
