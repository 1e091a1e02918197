"""Gives shards to ranks as they become free, the longest first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ensemble_mtl.core.events import Observe
from ensemble_mtl.launch.base import Shard


class Desk:
    """Who does what; knows nothing of MPI.

    Args:
        shards: in the order in which they are given out.
        ranks: all of them free.
        send: takes a message to a rank: ``{"members": ids}`` or ``{"stop": True}``.
        observe: receives the ranks' events.

    Attributes:
        stopping: no more shards are given out, and those in training are checkpointed.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        ranks: Iterable[int],
        send: Callable[[int, dict[str, Any]], None],
        observe: Observe,
    ) -> None:
        self._send, self._observe = send, observe
        self._waiting, self._free = deque(shards), deque(ranks)
        self._busy: set[int] = set()
        self._unfinished = self.stopping = False

    def give(self) -> None:
        """Give out what can be given out."""
        while self._waiting and self._free and not self.stopping:
            rank, shard = self._free.popleft(), self._waiting.popleft()
            self._busy.add(rank)
            self._send(rank, {"members": [member.id for member in shard.members]})

    def take(self, rank: int, event: dict[str, Any]) -> None:
        """Take in what ``rank`` says."""
        match event["event"]:
            case "idle":
                self._busy.discard(rank)
                self._free.append(rank)
            case "stopped":  # as it was asked, or since it has no time for another epoch: it gets nothing more
                self._busy.discard(rank)
                self._unfinished = True
            case "asked":
                self.stop()
            case _:
                self._observe(event)

    def stop(self) -> None:
        """Let every rank checkpoint after its present epoch."""
        if self.stopping:
            return
        self.stopping = True
        self._observe({"event": "stopping", "killed": False})
        for rank in self._busy:
            self._send(rank, {"stop": True})

    @property
    def over(self) -> bool:
        """Whether nobody is at work and nothing more can be given out."""
        return not self._busy and (self.stopping or not self._waiting or not self._free)

    @property
    def complete(self) -> bool:
        """Whether every shard was trained to its end."""
        return not (self.stopping or self._unfinished or self._waiting)
