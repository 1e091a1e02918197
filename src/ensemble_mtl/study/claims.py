"""Claims: files that say which process works on what, on a shared file system without locks.

A claim is made exclusively: a file is written under a temporary name and linked to the name of the claim, and ``link``
fails if that name is taken. Its holder keeps it by renewing the file's modification time every few seconds. A claim may
be taken over by another process if it has not been renewed for :data:`SILENCE_SECONDS`, or if its process is known to
be dead.

Several processes may see the same dead claim at once, say ``running.json`` with the uid ``U``. To replace it, a process

1. claims ``running.json.U``, by these same rules. Only one process succeeds; all others leave ``running.json`` alone;
2. reads ``running.json`` again. If its uid is no longer ``U``, another process has taken it over meanwhile, between
   this one's first look and step 1, and this one leaves it alone;
3. gives its claim's file a second name and renames that over ``running.json``, so that the file keeps its first name
   until the claim is made, whatever interrupts this; then it releases ``running.json.U``.

A process that dies in between leaves a dead claim on ``running.json.U``, which is taken over in the same way.

All times that are compared are those of the file system, so that clocks of hosts may differ. A process that was stopped
for longer than the silence sees, when it wakes up, that its claim belongs to another process (:meth:`Claim.held`), and
leaves the work to it.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.core.runtime.processes import is_dead, machine
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.study import claim_record

RENEWAL_SECONDS = 5.0
"""How often a process renews its claims."""
SILENCE_SECONDS = 60.0
"""After this long without a renewal the process that made a claim counts as dead."""
POLL_SECONDS = 0.5
"""How often a process that waits for a claim tries again."""


@dataclass(frozen=True)
class Holder:
    """The living process that holds a claim.

    Attributes:
        pid: process number on ``host``.
        host: network name of the host where the process runs.
    """

    pid: int
    host: str


class Claim:
    """A claim that this process holds; made by :func:`claim`.

    Attributes:
        path: the claim file.
    """

    def __init__(self, path: Path, uid: str, descriptor: int) -> None:
        self.path = path
        self._uid, self._descriptor = uid, descriptor

    def renew(self) -> None:
        """Renew the claim, as a sign that this process lives.

        This needs no space on the disk. It goes by the open file and not by its name, so that it never renews the
        claim of a process that has taken this one over.
        """
        os.utime(self._descriptor)

    def held(self) -> bool:
        """Return True if this process holds the claim, and False if another has taken it over after a silence."""
        record = claim_record.read(self.path)
        return record is not None and record.uid == self._uid

    def release(self) -> None:
        """Give the claim up, because the work has ended or is left to other processes; harmless if called twice."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            if self.held():
                self.path.unlink()
        # The number is forgotten before the file is closed: a keeper's thread may be renewing at this moment, and must
        # not touch another file that gets the same number.
        descriptor, self._descriptor = self._descriptor, -1
        os.close(descriptor)


def claim(path: Path) -> Claim | None:
    """Claim ``path``, and return the claim; None if a living process holds it.

    Args:
        path: the claim file; missing folders above it are made.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    uid = uuid.uuid4().hex[:12]
    temporary = atomic.temporary_sibling(path)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(descriptor, claim_record.content(uid))
        os.utime(descriptor)  # so a network file system sets its own time, not this host's
        now = os.fstat(descriptor).st_mtime
        if _link(temporary, path) or _take_over(temporary, path, now):
            temporary.unlink(missing_ok=True)  # inside the try: a signal at this line must release the claim as well
            return Claim(path, uid, descriptor)
    except BaseException:  # also a signal that arrives when the claim is made but not yet returned
        Claim(path, uid, descriptor).release()
        raise
    finally:
        temporary.unlink(missing_ok=True)
    os.close(descriptor)
    return None


def holder(path: Path, now: float | None = None) -> Holder | None:
    """Return who holds the claim ``path``; None if nobody does, or if its process is dead or silent.

    Args:
        path: the claim file.
        now: the current time in seconds by :func:`file_system_time`, for decisions. If left out, it is taken from
            this host's clock, which is good enough for what people are shown.

    Raises:
        OSError: the claim cannot be read, so it is unknown who holds it.
    """
    record = claim_record.read(path)
    if record is None:
        return None
    silence = (time.time() if now is None else now) - record.mtime
    # whether a process lives can only be looked up on its own machine
    known_dead = record.machine == machine() and is_dead(record.pid, record.started)
    if silence > SILENCE_SECONDS or known_dead:
        return None
    return Holder(record.pid, record.host)


def file_system_time(folder: Path) -> float:
    """Return the time in seconds by the clock of the file system that holds ``folder``, which may differ from hosts'.

    Raises:
        OSError: the folder cannot be written.
    """
    probe = atomic.temporary_sibling(folder / "clock")
    descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.utime(descriptor)  # so a network file system sets its own time, not this host's
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


class Keeper:
    """Renews claims in the background while its ``with`` block runs, and releases the remaining ones at its end.

    Args:
        claims: claims that this process holds.
    """

    def __init__(self, claims: Iterable[Claim]) -> None:
        self._claims = {claim.path: claim for claim in claims}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew_regularly, daemon=True)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        for path in list(self._claims):
            self.release(path)

    def held(self, path: Path) -> bool:
        """Return whether this process still holds the claim ``path``.

        While the claim cannot be read the answer is yes: this process renews it, so no other takes it for dead.
        """
        with self._lock:
            try:
                return path in self._claims and self._claims[path].held()
            except OSError:
                return True

    def release(self, path: Path) -> None:
        """Give the claim ``path`` up, because its work has ended; nothing happens if it was given up before."""
        with self._lock:
            if path in self._claims:
                self._claims.pop(path).release()

    def _renew_regularly(self) -> None:
        """Renew all claims every :data:`RENEWAL_SECONDS`, until the keeper ends."""
        while not self._stop.wait(RENEWAL_SECONDS):
            with self._lock:
                for claim in self._claims.values():
                    with suppress(OSError):  # a file server is away; the next renewal may succeed
                        claim.renew()


@contextmanager
def exclusive(path: Path, activity: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold the claim ``path`` during a ``with`` block, so that only one process does an activity at a time.

    Args:
        path: the claim file.
        activity: what this process does, for the message to others, for example "preparing the data".
        wait_seconds: how long to wait for a living holder to end.

    Raises:
        StudyError: a living process holds the claim.
    """
    deadline = time.monotonic() + wait_seconds
    while (new_claim := claim(path)) is None:
        if time.monotonic() >= deadline:
            current = holder(path)
            name = f"process {current.pid} on {current.host}" if current else "another process"
            raise StudyError(
                f"{path.parent}: {name} is {activity} already; wait until it has ended (see `ensemble-mtl status`), "
                "or stop it first"
            )
        time.sleep(POLL_SECONDS)
    try:
        with Keeper([new_claim]):
            yield
    finally:
        new_claim.release()  # for a signal that arrives before the keeper has it


def _link(temporary: Path, path: Path) -> bool:
    """Give the file ``temporary`` the further name ``path``; return False if that name is taken."""
    try:
        os.link(temporary, path)  # unlike a rename, a link fails if the name is taken
    except FileExistsError:
        # A network file system may make the link, lose its answer, and ask again, which then fails. The number of the
        # file's names tells whether the first request succeeded.
        return temporary.stat().st_nlink > 1
    return True


def _take_over(temporary: Path, path: Path, now: float) -> bool:
    """Put the claim ``temporary`` in the place of the claim ``path`` if that one is dead; return whether it was.

    The steps are those of the module's description.
    """
    record = claim_record.read(path)
    if record is None:  # its holder has just released it
        return _link(temporary, path)
    if holder(path, now) is not None:
        return False
    takeover = claim(path.with_name(f"{path.name}.{record.uid}"))
    if takeover is None:
        return False
    try:
        current = claim_record.read(path)
        if current is None or current.uid != record.uid:
            return False
        spare = atomic.temporary_sibling(path)
        os.link(temporary, spare)
        os.replace(spare, path)
        return True
    finally:
        takeover.release()
