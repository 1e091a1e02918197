"""Signs of life in files: who trains a member, who runs a study.

A file names the process (number, start time, host) and is renewed every few seconds. It
tells ``status`` what goes on and keeps a second ``run`` away; no lock server is needed.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ensemble_mtl import atomic
from ensemble_mtl.errors import StudyError

HEARTBEAT_SECONDS = 5.0
"""How often a process says that it lives."""
SILENCE_SECONDS = 60.0
"""After this long without a sign a process counts as dead."""


class Heartbeat:
    """Renews files in the background while it is entered.

    Args:
        paths: the files; they are removed at the end.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = set(paths)
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
        for path in list(self._paths):
            self.drop(path)

    def drop(self, path: Path) -> None:
        """What the file stands for has ended: remove it and do not make it again."""
        with self._lock:
            self._paths.discard(path)
            path.unlink(missing_ok=True)

    def _run(self) -> None:
        while not self._over.wait(HEARTBEAT_SECONDS):
            try:
                self._beat()
            except OSError:
                continue  # a full disk, a server that is away: the next one may succeed

    def _beat(self) -> None:
        with self._lock:
            for path in self._paths:
                atomic.write_json(path, {**identity(), **self.progress})


def identity() -> dict[str, Any]:
    """This process, now."""
    pid = os.getpid()
    return {"pid": pid, "started": process_started(pid), "host": socket.gethostname(), "time": time.time()}


def read(path: Path) -> dict[str, Any] | None:
    """What a heartbeat file says; None if there is none, or if its process is dead or silent."""
    try:
        told: dict[str, Any] = json.loads(path.read_text())
        if time.time() - told["time"] > SILENCE_SECONDS:
            return None
        here = told["host"] == socket.gethostname()
        return None if here and told["started"] != process_started(told["pid"]) else told
    except (OSError, ValueError, KeyError, TypeError):
        return None


def process_started(pid: int) -> str | None:
    """When the process began, in the kernel's ticks; None if it is gone or has ended.

    Together with the number it names one process: numbers are used again, and an ended
    process that nobody has waited for still has one.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


@contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """Hold ``path`` as the sign that this process, and no other, does ``what``.

    Raises:
        StudyError: a living process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    own = atomic.temporary_sibling(path)
    own.write_text(json.dumps(identity()))
    try:
        while True:
            try:
                os.link(own, path)  # unlike a rename it fails if the name is taken
                break
            except FileExistsError:
                _take_away_if_dead(path, what)
    finally:
        own.unlink()
    with Heartbeat([path]):
        yield


def _take_away_if_dead(path: Path, what: str) -> None:
    holder = read(path)
    if holder is not None:
        raise StudyError(
            f"{path.parent}: process {holder['pid']} on {holder['host']} is {what} already; "
            "wait for it (see `ensemble-mtl status`), or stop it first"
        )
    aside = atomic.temporary_sibling(path)
    try:
        path.rename(aside)  # of several that find it dead, one succeeds
    except FileNotFoundError:
        return
    aside.unlink()
