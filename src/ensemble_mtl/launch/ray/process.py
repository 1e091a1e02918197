"""One node of a Ray cluster: where it listens, and the processes of ``ray start`` from their start to their end."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
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
from ensemble_mtl.core.runtime.this_process import SAFE_PATH, child_setup
from ensemble_mtl.launch.base import SCHEDULER_SIGNALS
from ensemble_mtl.launch.ray.environment import OBJECT_STORE_BYTES, short_folder

PORTS = range(10_000, 32_768)
"""Below the ports that Linux hands out itself."""
GRACE_SECONDS = 5.0
_SIOCGIFADDR = 0x8915


def free_port(address: str) -> int:
    """A port that nobody uses here.

    Raises:
        ConfigError: there seems to be none.
    """
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
            return port
    raise ConfigError(f"{socket.gethostname()}: no free port for Ray between {PORTS[0]} and {PORTS[-1]}")


def host_address(interface: str | None = None) -> str:
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
                interfaces = ", ".join(name for _, name in socket.if_nameindex())
                raise ConfigError(
                    f"--interface: got {interface!r} ({error.strerror}), expected one of {interfaces}"
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
    """The processes of one node; each server that no argument gives a port takes one that the kernel gives it.

    Args:
        arguments: of ``ray start``, beyond those that every node has.
        address: of this node.
        environment: of the processes; names the token.
        log: receives what they print.
    """

    def __init__(self, arguments: list[str], address: str, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        self._folder = short_folder()
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={address}"]
        command += ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0", *arguments]
        command += [f"--object-store-memory={OBJECT_STORE_BYTES}", "--include-log-monitor=false"]
        if "--head" in arguments:
            # the server of Ray's client cannot be left out, and has one port for all clusters unless it is told
            command += [f"--ray-client-server-port={free_port(address)}", "--include-dashboard=false", "--no-monitor"]
            command += ["--disable-usage-stats", f"--temp-dir={self._folder}"]
        self._process = start(command, {**environment, **SAFE_PATH}, log, signal.SIGKILL)

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
        for pid, started in family.items():
            if process_started(pid) == started:
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
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(open(log, "ab")) if log else None
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT if log else None,
            env=dict(environment),
            start_new_session=True,
            preexec_fn=child_setup(at_my_death, SCHEDULER_SIGNALS),
        )


def descendants(pid: int) -> dict[int, str]:
    """Living processes below ``pid`` and when each began."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    living: dict[int, str] = {}
    parents = [pid]
    while parents:
        for child in children.get(parents.pop(), []):
            if started := process_started(child):
                living[child] = started
            parents.append(child)
    return living


def exit_code(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """How it ended, as a shell has it; None if it has not within ``seconds``."""
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    return code if code >= 0 else 128 - code
