"""The small files beside a member's result: heartbeat, metrics, log, failure."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any

from ensemble_mtl import atomic
from ensemble_mtl.plan import Member
from ensemble_mtl.study import Study, process_started

HEARTBEAT_SECONDS = 5.0
"""How often a worker says that it lives."""


class Heartbeat:
    """Renews the heartbeat files of some members in the background while it is entered.

    Args:
        study: where the files are.
        members: those in training.
    """

    def __init__(self, study: Study, members: Iterable[Member]) -> None:
        self._study = study
        self._active = {member.id: member for member in members}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.progress: dict[str, Any] = {}
        """Shown by ``status``; replaced, never changed in place."""

    def __enter__(self) -> Heartbeat:
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        for member in list(self._active.values()):
            self.drop(member)

    def drop(self, member: Member) -> None:
        """The member has ended: remove its file and do not make it again."""
        with self._lock:
            self._active.pop(member.id, None)
            self._study.heartbeat(member).unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._over.wait(HEARTBEAT_SECONDS):
            self._beat()

    def _beat(self) -> None:
        pid = os.getpid()
        told = {"pid": pid, "started": process_started(pid), "host": socket.gethostname(), **self.progress}
        with self._lock:
            told["time"] = time.time()
            for member in self._active.values():
                atomic.write_json(self._study.heartbeat(member), told)


def record_failure(study: Study, member: Member, error: str, trace: str = "") -> None:
    """Write the member's ``failed.json``, counting its attempts."""
    path = study.failure(member)
    try:
        attempts = int(json.loads(path.read_text())["attempts"])
    except (OSError, ValueError, KeyError):
        attempts = 0
    atomic.write_json(path, {"error": error, "attempts": attempts + 1, "traceback": trace})


def log(study: Study, member: Member, text: str) -> None:
    """Add a line to the member's ``log.txt``."""
    folder = study.folder(member)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log.txt", "a") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n")


def add_metrics(study: Study, member: Member, line: dict[str, Any]) -> None:
    """Add one epoch to the member's ``metrics.jsonl``."""
    with open(study.metrics(member), "a") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")


def cut_metrics(study: Study, member: Member, epoch: int) -> None:
    """Drop the metrics of epochs after ``epoch``, which will be trained again."""
    path = study.metrics(member)
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["epoch"] <= epoch:
                kept.append(line + "\n")
        except (ValueError, KeyError):
            break  # the line that a killed process was writing
    atomic.write_text(path, "".join(kept))
