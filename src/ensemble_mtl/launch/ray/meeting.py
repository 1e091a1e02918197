"""How the processes of an allocation find each other: ranks, and files in a shared folder."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from ensemble_mtl.core.errors import EXIT_CHECKPOINTED, EnsembleMTLError
from ensemble_mtl.core.runtime.this_process import handle_signals
from ensemble_mtl.launch.base import STOP_SIGNALS
from ensemble_mtl.launch.ray.environment import QUIET
from ensemble_mtl.launch.started import refusal


class StoppedError(EnsembleMTLError):
    """It was asked to stop before the command began."""

    exit_code = EXIT_CHECKPOINTED


@dataclass(frozen=True)
class Place:
    """This process among those of the allocation.

    Attributes:
        rank: from 0.
        size: number of nodes.
        folder: shared by them.
        cpus: that Ray may use here.
        gpus: that Ray may use here; None for those that it finds.
        seconds: how long joining may take.
        interface: the network interface to use.
    """

    rank: int
    size: int
    folder: Path
    cpus: int
    gpus: int | None
    seconds: float
    interface: str | None

    @property
    def name(self) -> str:
        """For messages."""
        return f"ray_nodes, rank {self.rank} on {socket.gethostname()}"

    @property
    def log(self) -> Path:
        """What Ray prints here."""
        return self.folder / f"ray-{self.rank}.log"

    def resources(self) -> list[str]:
        """For ``ray start``."""
        return [f"--num-cpus={self.cpus}", *([] if self.gpus is None else [f"--num-gpus={self.gpus}"])]


@dataclass(frozen=True)
class Head:
    """Where the head is; ``head.json`` in the folder.

    Attributes:
        address: ``host:port``.
        session: a fresh name, so that what an earlier attempt left is not taken for this one's.
    """

    address: str
    session: str

    def token(self, folder: Path) -> Path:
        """The file with the token."""
        return folder / f"token-{self.session}"

    def over(self, folder: Path) -> bool:
        """Whether the command has ended."""
        return (folder / f"done-{self.session}").exists()

    def end(self, folder: Path) -> None:
        """The command has ended; the others leave."""
        (folder / f"done-{self.session}").touch()

    def answers(self) -> bool:
        """Whether the head lives."""
        host, _, port = self.address.rpartition(":")
        return not refusal(host, int(port))

    def environment(self, folder: Path) -> dict[str, str]:
        """The environment of everything that talks to the cluster."""
        changed = {
            **QUIET,
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token(folder)),
            "OMP_NUM_THREADS": "1",
        }
        return {name: value for name, value in os.environ.items() if name != "RAY_AUTH_TOKEN"} | changed


class Signals:
    """Remembers when a signal came first, and passes signals on to the command."""

    def __init__(self) -> None:
        self.receiver: subprocess.Popen[bytes] | None = None
        self._first: dict[int, float] = {}
        handle_signals(STOP_SIGNALS, self._take)

    def since(self, *numbers: int) -> float | None:
        """Seconds since the first of ``numbers`` came; None if none did."""
        came = [self._first[number] for number in numbers or STOP_SIGNALS if number in self._first]
        return time.monotonic() - min(came) if came else None

    def raise_if_any(self) -> None:
        """Nothing has begun that would have to be ended in order.

        Raises:
            StoppedError: there was a signal.
        """
        if self._first:
            raise StoppedError("stopped before the command began")

    def _take(self, number: int, frame: object) -> None:
        self._first.setdefault(number, time.monotonic())
        if self.receiver and self.receiver.poll() is None:
            os.killpg(self.receiver.pid, number)  # it leads a group; a shell would not pass it on
