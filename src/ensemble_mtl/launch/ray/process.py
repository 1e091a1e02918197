"""One node of a Ray cluster: the processes of ``ray start``, from their ports to their end."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ensemble_mtl.core.errors import ConfigError
from ensemble_mtl.core.runtime.processes import process_started, wait_for_end
from ensemble_mtl.launch.base import SCHEDULER_SIGNALS
from ensemble_mtl.launch.ray.environment import OBJECT_STORE_BYTES, short_folder

PORTS = (
    "port",  # of the head's own server; the others are for every node
    "node-manager-port",
    "object-manager-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
    "ray-client-server-port",
)
HEAD_PORTS = ("port", "ray-client-server-port")
FIRST_PORT, BLOCK, LAST_PORT = 10_000, 16, 32_767
"""Below the ports that Linux hands out itself."""
GRACE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
_SIOCGIFADDR = 0x8915


def ports(seed: int, rank: int, attempt: int = 0) -> dict[str, int]:
    """Ports for one node.

    Nodes of one cluster that share an address do not meet: left to itself, each of them looks for
    free ports at the same time and they take the same ones.

    Args:
        seed: the same for all nodes of a cluster, another for another cluster.
        rank: of the node.
        attempt: another block each time.
    """
    blocks = (LAST_PORT + 1 - FIRST_PORT) // BLOCK
    first = FIRST_PORT + BLOCK * ((seed + rank + 97 * attempt) % blocks)
    return {name: first + i for i, name in enumerate(PORTS)}


def free_ports(address: str, seed: int, rank: int, attempts: int = 50) -> dict[str, int]:
    """As :func:`ports`, of the first block that nobody uses here.

    Raises:
        ConfigError: there is none.
    """
    for attempt in range(attempts):
        found = ports(seed, rank, attempt)
        if all(_is_free(address, port) for port in found.values()):
            return found
    raise ConfigError(f"{socket.gethostname()}: no free ports for Ray between {FIRST_PORT} and {LAST_PORT}")


def _is_free(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def own_address(interface: str | None = None) -> str:
    """This node's IPv4 address as other nodes reach it.

    Args:
        interface: name of the network interface to use, for example ``hsn0``.

    Raises:
        ConfigError: there is no such interface, or it has no address.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        if interface:
            request = struct.pack("256s", interface.encode()[:15])
            try:
                return socket.inet_ntoa(fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)[20:24])
            except OSError as error:
                known = ", ".join(name for _, name in socket.if_nameindex())
                raise ConfigError(
                    f"--interface: got {interface!r} ({error.strerror}), expected one of {known}"
                ) from None
        with contextlib.suppress(OSError):
            for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET):
                if not str(entry[4][0]).startswith("127."):
                    return str(entry[4][0])
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; asks which address would be used
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


class RayNode:
    """The processes of one node.

    Args:
        arguments: of ``ray start``, beyond those that every node has.
        address: of this node.
        taken: its ports.
        environment: of the processes; names the token.
        log: receives what they print.
    """

    def __init__(
        self, arguments: list[str], address: str, taken: dict[str, int], environment: Mapping[str, str], log: Path
    ) -> None:
        self.log, head = log, "--head" in arguments
        self._folder = short_folder()
        chosen = [f"--{name}={number}" for name, number in taken.items() if head or name not in HEAD_PORTS]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={address}"]
        command += [*chosen, "--min-worker-port=0", "--max-worker-port=0", *arguments]
        command += [f"--object-store-memory={OBJECT_STORE_BYTES}", "--include-log-monitor=false"]
        if head:
            command += [
                "--include-dashboard=false",
                "--no-monitor",
                "--disable-usage-stats",
                f"--temp-dir={self._folder}",
            ]
        self._process = start(command, environment, log, signal.SIGKILL)

    def ended(self) -> bool:
        """Whether Ray has ended here, wanted or not."""
        return self._process.poll() is not None

    def last_words(self) -> str:
        """The end of the log, in one line."""
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return " ".join(line.strip() for line in lines if line.strip())[-400:]

    def stop(self) -> None:
        """End all its processes, those of the workers too, which are in groups of their own."""
        family = descendants(self._process.pid)
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        for pid, begun in family.items():
            if process_started(pid) == begun:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        wait_for_end(family, GRACE_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)


def start(
    command: list[str], environment: Mapping[str, str], log: Path | None, at_my_death: signal.Signals
) -> subprocess.Popen[bytes]:
    """Start ``command`` in a session of its own, deaf to a scheduler's signals if it does not listen to them.

    Args:
        command: program and arguments.
        environment: of the process.
        log: receives its output; None for that of this process.
        at_my_death: the signal it gets when this process dies.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def prepare() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(at_my_death))
        if os.getppid() != parent:
            os._exit(1)
        for number in SCHEDULER_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    with contextlib.ExitStack() as stack:
        out = stack.enter_context(open(log, "ab")) if log else None
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if log else None,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=prepare,
        )


def descendants(pid: int) -> dict[int, str]:
    """Living processes below ``pid`` and when each began."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            if begun := process_started(child):
                found[child] = begun
            waiting.append(child)
    return found


def exit_code(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """How it ended, as a shell has it; None if it has not within ``seconds``."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    return code if code >= 0 else 128 - code
