"""Claims: files that say which process works on what, on a shared file system without locks.

A claim is made exclusively (``link`` fails if the name is taken), and kept by renewing its
modification time every few seconds. A claim that was not renewed for a stated time, or
whose process is known to be dead, may be taken over. To take over a claim, one must hold
the claim *on its taking over*, a file named after the dead one: of several that find it
dead one succeeds, and that one looks again before it acts.

All times compared are of the file system, so that clocks of hosts may differ. Whoever was
stopped for longer than the silence and wakes up finds that its claim is another's
(:meth:`Claim.held`), and leaves the work.
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.core.runtime.processes import is_dead, machine, process_started
from ensemble_mtl.core.storage import atomic

RENEWAL_SECONDS = 5.0
"""How often a process renews its claims."""
SILENCE_SECONDS = 60.0
"""After this long without a renewal the process that made a claim counts as dead."""
POLL_SECONDS = 0.5
MOST_BYTES = 4096


@dataclass(frozen=True)
class Holder:
    """The living process that holds a claim.

    Attributes:
        uid: names the claim.
        pid: process number on ``host``.
        host: where it runs.
    """

    uid: str
    pid: int
    host: str


class Claim:
    """A claim that this process holds; made by :func:`claim`."""

    def __init__(self, path: Path, uid: str, descriptor: int) -> None:
        self.path = path
        self._uid, self._descriptor = uid, descriptor

    def renew(self) -> None:
        """Say that this process lives; needs no space on the disk, and never touches another's claim."""
        os.utime(self._descriptor)

    def held(self) -> bool:
        """Whether it is still this process's own, and not taken over after a silence."""
        record = _read(self.path)
        return record is not None and record["uid"] == self._uid

    def release(self) -> None:
        """What it stood for has ended, or is left to others."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            if self.held():
                self.path.unlink()
        descriptor, self._descriptor = self._descriptor, -1  # in this order: a keeper may be at work
        os.close(descriptor)


def claim(path: Path) -> Claim | None:
    """Claim ``path``; None if a living process holds it.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    uid = uuid.uuid4().hex[:12]
    own = atomic.temporary_sibling(path)
    descriptor = os.open(own, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(descriptor, json.dumps({"uid": uid, **_identity()}).encode())
        os.utime(descriptor)  # a network file system then tells its own time, not this host's
        now = os.fstat(descriptor).st_mtime
        if _linked(own, path) or _taken_over(own, path, now):
            own.unlink(missing_ok=True)  # in here, so that a signal just now is met below
            return Claim(path, uid, descriptor)
    except BaseException:  # also a signal after the claim was made
        Claim(path, uid, descriptor).release()
        raise
    finally:
        own.unlink(missing_ok=True)
    os.close(descriptor)
    return None


def holder(path: Path, now: float | None = None) -> Holder | None:
    """Who holds ``path``; None if nobody does, or if its process is dead or silent.

    Args:
        path: of the claim.
        now: :func:`file_system_time`, for decisions; this host's clock if left out, which will do to tell people.

    Raises:
        OSError: the claim cannot be read, so nobody knows.
    """
    record = _read(path)
    if record is None:
        return None
    silent = (time.time() if now is None else now) - record["mtime"]
    here = record["machine"] == machine()
    if silent > SILENCE_SECONDS or (here and is_dead(record["pid"], record["started"])):
        return None
    return Holder(record["uid"], record["pid"], record["host"])


def file_system_time(folder: Path) -> float:
    """What the file system that holds ``folder`` takes the time to be; hosts' clocks may differ from it."""
    probe = atomic.temporary_sibling(folder / "clock")
    descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.utime(descriptor)  # a network file system then tells its own time, not this host's
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


class Keeper:
    """Renews claims in the background while it is entered; releases what is left at the end."""

    def __init__(self, claims: Iterable[Claim]) -> None:
        self._claims = {held.path: held for held in claims}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        for path in list(self._claims):
            self.release(path)

    def held(self, path: Path) -> bool:
        """Whether the claim on ``path`` is still this process's own."""
        with self._lock:
            try:
                return path in self._claims and self._claims[path].held()
            except OSError:
                return True  # nobody knows, for a moment; a process that renews is not taken for dead

    def release(self, path: Path) -> None:
        """What the claim stands for has ended."""
        with self._lock:
            if path in self._claims:
                self._claims.pop(path).release()

    def _run(self) -> None:
        while not self._over.wait(RENEWAL_SECONDS):
            with self._lock:
                for held in self._claims.values():
                    with suppress(OSError):  # a server that is away: the next renewal may succeed
                        held.renew()


@contextmanager
def exclusive(path: Path, what: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold ``path`` as the sign that this process, and no other, is at ``what``.

    Args:
        path: of the claim.
        what: told to others, for example "preparing the data".
        wait_seconds: how long to wait for a living holder to end.

    Raises:
        StudyError: a living process holds it.
    """
    deadline = time.monotonic() + wait_seconds
    while (own := claim(path)) is None:
        if time.monotonic() >= deadline:
            living = holder(path)
            who = f"process {living.pid} on {living.host}" if living else "another process"
            raise StudyError(
                f"{path.parent}: {who} is {what} already; wait for it (see `ensemble-mtl status`), or stop it first"
            )
        time.sleep(POLL_SECONDS)
    try:
        with Keeper([own]):
            yield
    finally:
        own.release()  # if a signal came before it was kept


def _linked(own: Path, path: Path) -> bool:
    try:
        os.link(own, path)  # unlike a rename it fails if the name is taken
    except FileExistsError:
        return own.stat().st_nlink > 1  # it was made, and a network file system lost the answer and asked again
    return True


def _taken_over(own: Path, path: Path, now: float) -> bool:
    """Put ``own`` in the place of the claim at ``path`` if that is a dead one."""
    record = _read(path)
    if record is None:  # released a moment ago, or unreadable
        return _linked(own, path)
    if holder(path, now) is not None:
        return False
    takeover = claim(path.with_name(f"{path.name}.{record['uid']}"))
    if takeover is None:
        return False
    try:
        again = _read(path)
        if again is None or again["uid"] != record["uid"]:
            return False
        spare = atomic.temporary_sibling(path)
        os.link(own, spare)
        os.replace(spare, path)
        return True
    finally:
        takeover.release()


def _read(path: Path) -> dict[str, Any] | None:
    """The claim's contents and ``mtime``; None if there is none.

    A file that is no claim is taken for one that has been silent from its last change on.
    """
    for last in (False, True):
        try:
            with open(path, "rb") as file:
                mtime = os.fstat(file.fileno()).st_mtime
                content = file.read(MOST_BYTES)
            break
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ESTALE or last:  # it was replaced while it was opened
                raise
    return {**_parsed(content, mtime), "mtime": mtime}


def _parsed(content: bytes, mtime: float) -> dict[str, Any]:
    blank = {"uid": f"at{mtime:.0f}", "pid": 0, "started": "", "host": "unknown", "machine": ""}
    try:
        record = {**blank, **json.loads(content)}
    except (ValueError, TypeError):
        return blank
    sound = re.fullmatch(r"[A-Za-z0-9]{1,40}", str(record["uid"])) and type(record["pid"]) is int
    return record if sound else blank


def _identity() -> dict[str, Any]:
    pid = os.getpid()
    return {"pid": pid, "started": process_started(pid), "host": socket.gethostname(), "machine": machine()}
