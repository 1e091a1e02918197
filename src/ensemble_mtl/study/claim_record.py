"""What a claim file says: which process made the claim, and when it was last renewed."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ensemble_mtl.core.runtime.processes import machine, process_started

MAX_BYTES = 4096
"""Number of bytes of a claim file that are read at most; a claim takes about 200 bytes."""


@dataclass(frozen=True)
class ClaimRecord:
    """The content of a claim file.

    Attributes:
        uid: name of the claim, different for every claim that was ever made.
        pid: process number of the holder on its host.
        started: when that process began, in the kernel's ticks; a later process may get the same ``pid``, but not both.
        host: network name of the holder's host, for messages.
        machine: identifies the system in which ``pid`` is counted, so that a process elsewhere can tell whether it can
            look the process up (see :func:`ensemble_mtl.core.runtime.processes.machine`).
        mtime: when the claim was last renewed, in seconds of the file system's clock.
    """

    uid: str
    pid: int
    started: str
    host: str
    machine: str
    mtime: float


def content(uid: str) -> bytes:
    """Return what this process writes into a claim file of the name ``uid``."""
    pid = os.getpid()
    holder = {"pid": pid, "started": process_started(pid), "host": socket.gethostname(), "machine": machine()}
    return json.dumps({"uid": uid, **holder}).encode()


def read(path: Path) -> ClaimRecord | None:
    """Return the record of the claim file ``path``, or None if there is no such file.

    A file whose content is not a claim counts as the claim of an unknown process that was silent since the file was
    last changed. So an empty file that a crash left blocks the work for the time of silence and no longer.

    Raises:
        OSError: the file is there but cannot be read.
    """
    for is_last_try in (False, True):
        try:
            with open(path, "rb") as file:
                mtime = os.fstat(file.fileno()).st_mtime
                text = file.read(MAX_BYTES)
            break
        except FileNotFoundError:
            return None
        except OSError as error:
            # a network file system says "stale" if the file was replaced while it was being opened
            if error.errno != errno.ESTALE or is_last_try:
                raise
    return _parsed(text, mtime)


def _parsed(text: bytes, mtime: float) -> ClaimRecord:
    """Return the record in the ``text`` of a claim file, or that of an unknown process if there is none in it."""
    unknown: dict[str, Any] = {"uid": f"at{mtime:.0f}", "pid": 0, "started": "", "host": "unknown", "machine": ""}
    try:
        values = {**unknown, **json.loads(text)}
    except (ValueError, TypeError):
        values = unknown
    # The uid becomes a part of a file name when the claim is taken over, and anyone may have written it.
    if not re.fullmatch(r"[A-Za-z0-9]{1,40}", str(values["uid"])) or type(values["pid"]) is not int:
        values = unknown
    return ClaimRecord(str(values["uid"]), values["pid"], values["started"], values["host"], values["machine"], mtime)
