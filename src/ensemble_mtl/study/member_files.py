"""The small files beside a member's result: metrics, log, failure."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from ensemble_mtl.core.storage import atomic
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member

STARTED, TRIED = "started", "tried"
"""Begin the lines of a member's log that stand for one attempt, and for finding out how large a stack may be."""
TAIL_BYTES = 8192
"""More than two lines of metrics."""


def record_failure(study: Study, member: Member, error: str, trace: str = "") -> None:
    """Write the member's ``failed.json``; its attempts are the starts in its log."""
    try:
        attempts = (study.folder(member) / "log.txt").read_text().count(f" {STARTED} at epoch ")
    except OSError:
        attempts = 0  # it died before it began
    atomic.write_json(study.failure(member), {"error": error, "attempts": attempts, "traceback": trace})


def begin(study: Study, member: Member, epoch: int, stack: int) -> None:
    """The member starts to train after ``epoch`` epochs, in a stack: former failures and later metrics are over."""
    study.failure(member).unlink(missing_ok=True)
    _cut_metrics(study, member, epoch)
    log(study, member, f"{STARTED} at epoch {epoch} in a stack of {stack}")


def about_to_try(study: Study, member: Member, epoch: int, stack: int) -> None:
    """A few steps are tried from ``epoch`` in a stack of so many, which may be more than there is memory for."""
    log(study, member, f"{TRIED} at epoch {epoch} in a stack of {stack}")


def size_of_broken_stack(study: Study, member: Member, epoch: int) -> int:
    """Members of the stack in which this one was last tried or began, at ``epoch``, if nothing came of it; else 0."""
    try:
        last = (study.folder(member) / "log.txt").read_text().splitlines()[-1]
    except (OSError, IndexError):
        return 0
    found = re.search(rf" (?:{STARTED}|{TRIED}) at epoch {epoch} in a stack of (\d+)$", last)
    return int(found[1]) if found else 0


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


def _cut_metrics(study: Study, member: Member, epoch: int) -> None:
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


def last_metrics(study: Study, member: Member) -> dict[str, Any] | None:
    """The member's last whole line of metrics; None before its first epoch."""
    try:
        with open(study.metrics(member), "rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            found: dict[str, Any] = json.loads(line)
            return found
        except ValueError:
            continue  # being written, or cut off by the seek
    return None
