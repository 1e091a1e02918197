"""The study directory: where things lie, and what state each member is in.

There is no database: a finished member is its ``result.json``, a failed one its
``failed.json``, and the plan minus the results is what is left to do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.study import claims
from ensemble_mtl.study.plan import Member, members

State = Literal["done", "running", "failed", "missing"]
STATES: tuple[State, ...] = ("done", "running", "failed", "missing")


@dataclass(frozen=True)
class Study:
    """A configuration and the directory that holds everything made from it."""

    config: StudyConfig
    root: Path

    @classmethod
    def at(cls, config: StudyConfig, config_path: Path, out: Path | None) -> Study:
        """The study of ``config``: in ``out``, else as configured, else ``studies/<name>``."""
        default = config_path.resolve().parent / "studies" / config.name
        return cls(config, (out or config.out or default).resolve())

    @property
    def data(self) -> Path:
        """The graph store."""
        return self.root / "data.bp"

    @property
    def raw(self) -> Path:
        """Raw files that a generating source writes."""
        return self.root / "raw"

    @property
    def timing(self) -> Path:
        """Measured seconds per epoch, for estimates."""
        return self.root / "timing.json"

    @property
    def preparation(self) -> Path:
        """The claim of the process that makes or changes what all members share."""
        return self.root / "preparing.json"

    def split(self, seed: int) -> Path:
        """The split drawn with ``seed``."""
        return self.root / "splits" / f"split-{seed}.json"

    def members(self) -> list[Member]:
        """The plan."""
        return members(self.config)

    def folder(self, member: Member) -> Path:
        """The member's own folder."""
        return self.root / "members" / member.group / member.id

    def result(self, member: Member) -> Path:
        """The file that exists exactly if the member is done."""
        return self.folder(member) / "result.json"

    def failure(self, member: Member) -> Path:
        """The file that says why the member failed."""
        return self.folder(member) / "failed.json"

    def claim(self, member: Member) -> Path:
        """The claim of the process that trains the member."""
        return self.folder(member) / "running.json"

    def checkpoint(self, member: Member) -> Path:
        """Training state, and after the end the best weights."""
        return self.folder(member) / "checkpoint.pt"

    def metrics(self, member: Member) -> Path:
        """One JSON line per epoch."""
        return self.folder(member) / "metrics.jsonl"

    def state(self, member: Member) -> State:
        """What the files say of the member."""
        if self.result(member).exists():
            return "done"
        if claims.holder(self.claim(member)):
            return "running"
        return "failed" if self.failure(member).exists() else "missing"

    def free(self, members: Sequence[Member]) -> list[Member]:
        """Those of ``members`` that have no result and that no living process holds."""
        now = claims.file_system_time(self.root)
        left = [member for member in members if not self.result(member).exists()]
        return [member for member in left if not claims.holder(self.claim(member), now)]

    def orphans(self) -> list[Path]:
        """Results in the directory that belong to no planned member."""
        planned = {member.id for member in self.members()}
        return [path for path in sorted(self.root.glob("members/*/*/result.json")) if path.parent.name not in planned]

    def states(self) -> dict[str, State]:
        """State of each planned member by its id."""
        return {member.id: self.state(member) for member in self.members()}


def counts(states: dict[str, State]) -> dict[str, int]:
    """How many members are in each state, and ``total``."""
    found = Counter(states.values())
    return {**{state: found[state] for state in STATES}, "total": len(states)}
