"""The study directory: where each file is, and what state each member is in.

There is no database: a finished member is its ``result.json``, a failed one its
``failed.json``, and the plan minus the results is what is left to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.study import claims
from ensemble_mtl.study.plan import Member, members

State = Literal["done", "running", "failed", "missing"]
STATES: tuple[State, ...] = ("done", "running", "failed", "missing")
"""Every state of a member, in the order in which they are shown."""


@dataclass(frozen=True)
class Study:
    """A configuration and the directory that holds everything made from it.

    Attributes:
        config: the configuration, with every default.
        root: the study directory, an absolute path.
    """

    config: StudyConfig
    root: Path

    @classmethod
    def at(cls, config: StudyConfig, config_path: Path, out: Path | None) -> Study:
        """Return the study of a configuration.

        Args:
            config: the configuration.
            config_path: its file.
            out: the study directory; by default the key ``out``, or else ``studies/<name>`` beside the file.
        """
        default = config_path.resolve().parent / "studies" / config.name
        return cls(config, (out or config.out or default).resolve())

    @property
    def data(self) -> Path:
        """Path of the graph store."""
        return self.root / "data.bp"

    @property
    def raw(self) -> Path:
        """Path of the folder of raw files that a generating source writes."""
        return self.root / "raw"

    @property
    def timing(self) -> Path:
        """Path of the measured seconds per epoch, from which times are estimated."""
        return self.root / "timing.json"

    @property
    def preparation(self) -> Path:
        """Path of the claim of the process that makes or changes what all members share."""
        return self.root / "preparing.json"

    def split(self, seed: int) -> Path:
        """Return the path of the split drawn with ``seed``."""
        return self.root / "splits" / f"split-{seed}.json"

    def plan(self) -> list[Member]:
        """Return every member of the plan, in the plan's order."""
        return members(self.config)

    def folder(self, member: Member) -> Path:
        """Return the path of the folder of a member's files."""
        return self.root / "members" / member.group / member.id

    def result(self, member: Member) -> Path:
        """Return the path of the file that exists exactly if a member is done."""
        return self.folder(member) / "result.json"

    def failure(self, member: Member) -> Path:
        """Return the path of the file that says why a member failed."""
        return self.folder(member) / "failed.json"

    def claim_file(self, member: Member) -> Path:
        """Return the path of the claim of the process that trains a member."""
        return self.folder(member) / "running.json"

    def checkpoint(self, member: Member) -> Path:
        """Return the path of a member's training state, which has its last and its best weights."""
        return self.folder(member) / "checkpoint.pt"

    def metrics(self, member: Member) -> Path:
        """Return the path of a member's metrics, one JSON line per epoch."""
        return self.folder(member) / "metrics.jsonl"

    def attempts(self, member: Member) -> Path:
        """Return the path of the events of a member's training (:mod:`ensemble_mtl.study.attempts`)."""
        return self.folder(member) / "attempts.jsonl"

    def log(self, member: Member) -> Path:
        """Return the path of the text that says to a person what happened to a member; no program reads it."""
        return self.folder(member) / "log.txt"

    def is_done(self, member: Member) -> bool:
        """Return whether a member has a result."""
        return self.result(member).exists()

    def unfinished(self, members: Iterable[Member]) -> list[Member]:
        """Return those of ``members`` that have no result yet, in their order."""
        return [member for member in members if not self.is_done(member)]

    def state(self, member: Member) -> State:
        """Return the state of a member, as its files say.

        It is ``done`` with a result, ``running`` if a living process holds its claim, ``failed`` if the last try ended
        in an error, else ``missing``.
        """
        if self.is_done(member):
            return "done"
        if claims.holder(self.claim_file(member)):
            return "running"
        return "failed" if self.failure(member).exists() else "missing"

    def free(self, members: Sequence[Member]) -> list[Member]:
        """Return those of ``members`` that have no result and that no living process holds."""
        now = claims.file_system_time(self.root)
        return [member for member in self.unfinished(members) if not claims.holder(self.claim_file(member), now)]

    def orphans(self) -> list[Path]:
        """Return the paths of results in the directory that belong to no planned member."""
        planned = {member.id for member in self.plan()}
        return [path for path in sorted(self.root.glob("members/*/*/result.json")) if path.parent.name not in planned]

    def states(self) -> dict[str, State]:
        """Return the state of each planned member by its id."""
        return {member.id: self.state(member) for member in self.plan()}


def counts(states: dict[str, State]) -> dict[str, int]:
    """Return how many members are in each state, and under ``total`` how many there are."""
    numbers = Counter(states.values())
    return {**{state: numbers[state] for state in STATES}, "total": len(states)}
