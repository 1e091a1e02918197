"""The small files beside a member's result: its metrics, its failure, and its log for people."""

from __future__ import annotations

import json
import time
from typing import Any

from ensemble_mtl.core.storage import atomic
from ensemble_mtl.study.attempts import AttemptEvent, Phase, add_event, read_events
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member

TAIL_BYTES = 8192
"""Number of bytes at the end of a metrics file that are read for its last line; two lines are shorter than that."""


def record_failure(study: Study, member: Member, error: str, trace: str = "") -> None:
    """Write the member's ``failed.json``, with the number of times that its training began."""
    attempts = sum(event.phase is Phase.TRAINING for event in read_events(study, member))
    atomic.write_json(study.failure(member), {"error": error, "attempts": attempts, "traceback": trace})


def begin_attempt(study: Study, member: Member, epoch: int, stack: int) -> None:
    """Record that the member's training begins, or goes on from its checkpoint.

    A former failure is deleted. The metrics of later epochs are dropped, since these epochs are trained again.

    Args:
        study: the member's study.
        member: the member.
        epoch: number of epochs that it has trained.
        stack: number of members in its stack.
    """
    study.failure(member).unlink(missing_ok=True)
    _cut_metrics(study, member, epoch)
    event = AttemptEvent(Phase.TRAINING, epoch, stack)
    record_event(study, member, event, f"started at epoch {epoch} in a stack of {stack}")


def record_event(study: Study, member: Member, event: AttemptEvent, text: str) -> None:
    """Record an event twice: in ``attempts.jsonl`` for programs, and as ``text`` in ``log.txt`` for people."""
    add_event(study, member, event)
    log(study, member, text)


def log(study: Study, member: Member, text: str) -> None:
    """Add a line to the member's ``log.txt``, which is for people only and is read by no program."""
    path = study.log(member)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n")


def add_metrics(study: Study, member: Member, line: dict[str, Any]) -> None:
    """Add the line of one epoch to the member's ``metrics.jsonl``; its values are finite or None."""
    with open(study.metrics(member), "a") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")


def _cut_metrics(study: Study, member: Member, epoch: int) -> None:
    """Drop the metrics of epochs after ``epoch``, which are trained again."""
    path = study.metrics(member)
    if not path.exists():
        return
    lines = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["epoch"] <= epoch:
                lines.append(line + "\n")
        except (ValueError, KeyError):
            break  # the line that a killed process was writing
    atomic.write_text(path, "".join(lines))


def last_metrics(study: Study, member: Member) -> dict[str, Any] | None:
    """Return the member's last whole line of metrics; None before its first epoch."""
    try:
        with open(study.metrics(member), "rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return None
    for line in reversed(lines):
        try:
            metrics: dict[str, Any] = json.loads(line)
            return metrics
        except ValueError:
            continue  # this line is being written, or the seek went into its middle
    return None
