"""The attempts to train a member: ``attempts.jsonl``, with one JSON line per event.

Programs read this file. ``log.txt`` beside it says the same and more to people, and no program reads it.

A process that the system kills, for example for want of memory, can write nothing more. Hence an attempt came to a
sudden end if its last event is :attr:`Phase.TRYING` or :attr:`Phase.TRAINING` and no process holds the member.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member


class Phase(StrEnum):
    """What has happened to a member, or is about to happen.

    Attributes:
        TRYING: training steps are about to be timed in a stack that may be too large for the memory.
        GROUPED: the trial is over; ``stack`` is the size that it chose for the stacks to come.
        TRAINING: training begins, or goes on from a checkpoint. Each such event is one attempt.
        SHORT_OF_MEMORY: the memory did not suffice for the stack; its members go on in smaller stacks.
        RESET: the checkpoint was damaged, so training begins anew.
        STOPPED: training was interrupted, and everything is checkpointed.
        FAILED: the member cannot be trained; ``failed.json`` says why.
        FINISHED: the member has its result.
    """

    TRYING = "trying"
    GROUPED = "grouped"
    TRAINING = "training"
    SHORT_OF_MEMORY = "short of memory"
    RESET = "reset"
    STOPPED = "stopped"
    FAILED = "failed"
    FINISHED = "finished"


@dataclass(frozen=True)
class AttemptEvent:
    """One line of ``attempts.jsonl``.

    Attributes:
        phase: what happened.
        epoch: number of epochs that the member had trained by then; None where it was not known yet.
        stack: number of members in the stack at its start; None where the member was in no stack.
        time: when the event was made, by the clock of the host.
    """

    phase: Phase
    epoch: int | None = None
    stack: int | None = None
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def to_line(self) -> str:
        """Return the event as one line of JSON, without the end of the line."""
        time = self.time.isoformat(timespec="seconds")
        return json.dumps({"phase": self.phase, "epoch": self.epoch, "stack": self.stack, "time": time})

    @classmethod
    def from_line(cls, line: bytes) -> AttemptEvent | None:
        """Return the event in a line of the file; None if the line holds no whole event."""
        try:
            record = json.loads(line)
            time = datetime.fromisoformat(record["time"])
            event = cls(Phase(record["phase"]), record["epoch"], record["stack"], time)
        except (ValueError, KeyError, TypeError):
            return None
        return event if all(value is None or type(value) is int for value in (event.epoch, event.stack)) else None


def add_event(study: Study, member: Member, event: AttemptEvent) -> None:
    """Append the event to the member's ``attempts.jsonl``.

    Raises:
        OSError: the file could not be written.
    """
    path = study.attempts(member)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a killed process was writing the last line; the new one must not continue it
                file.write(b"\n")
        file.write(event.to_line().encode() + b"\n")


def read_events(study: Study, member: Member) -> list[AttemptEvent]:
    """Return the member's events, the oldest first; a line that a killed process was writing is left out."""
    try:
        lines = study.attempts(member).read_bytes().splitlines()
    except OSError:
        return []  # nothing was attempted yet
    return [event for event in map(AttemptEvent.from_line, lines) if event is not None]
