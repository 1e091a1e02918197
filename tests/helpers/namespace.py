"""A private network and process namespace, for tests of servers that bind every interface.

Only loopback and a dead-end link exist in it, so that nothing in it is reachable from outside and nothing reports home.
Every process in it dies with it, also when the test fails. It needs root, ``unshare`` and ``nsenter`` of util-linux,
and ``ip`` of iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

ADDRESS = "192.0.2.200"
"""Address of the dead-end link; some servers refuse 127.0.0.1 where there is no other address."""
_SETUP = f"""
ip link set lo up
ip link add d0 type dummy 2>/dev/null || ip link add d0 type veth peer name d1
ip addr add {ADDRESS}/24 dev d0
ip link set d0 up
echo ready
exec sleep infinity
"""


def missing() -> str:
    """Return what a namespace needs and this machine lacks, in words; empty if nothing is missing."""
    if os.geteuid():
        return "a network namespace needs root"
    lacking = [tool for tool in ("unshare", "nsenter", "ip") if not shutil.which(tool)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


class Started:
    """A process that was started; its output goes to a file, since daemons would keep a pipe open.

    Args:
        command: program and arguments.
        environment: environment variables of the process.
    """

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._file = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the namespace
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._file, stderr=subprocess.STDOUT, env=environment
        )
        self._command = command

    @property
    def code(self) -> int | None:
        """The exit code; None while the process runs."""
        return self._process.poll()

    def wait(self, seconds: float = 300) -> int:
        """Wait until the process ends, and return its exit code."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self._command} did not end; it said: {self.said()}") from None

    def said(self) -> str:
        """Return all that the process has written so far, to either output."""
        size = os.fstat(self._file.fileno()).st_size
        return os.pread(self._file.fileno(), size, 0).decode(errors="replace")

    def close(self) -> None:
        """End the process, if it still runs."""
        self._process.kill()
        self._process.wait()
        self._file.close()


class Namespace:
    """A namespace that exists within a ``with`` block; at the end of the block every process in it is killed.

    Args:
        environment: environment variables of the commands that run in it; if left out, those of this process.
    """

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self.environment = dict(os.environ if environment is None else environment)
        self._started: list[Started] = []

    def __enter__(self) -> Namespace:
        command = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _SETUP]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline().strip() != "ready":
            self.__exit__()
            raise AssertionError("the namespace was not made")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text()
        self._inside = children.split()[0]
        return self

    def __exit__(self, *exception: object) -> None:
        self._holder.kill()
        self._holder.communicate()
        for started in self._started:
            started.close()

    def command(self, *words: object) -> list[str]:
        """Return the command that runs the command ``words`` in the namespace."""
        enter = ["nsenter", f"--target={self._inside}", "--net", "--pid", "--mount", f"--wdns={os.getcwd()}", "--"]
        return [*enter, *map(str, words)]

    def start(self, *words: object, **variables: str) -> Started:
        """Start a command, with further environment ``variables``; it is killed with the namespace at the latest."""
        started = Started(self.command(*words), {**self.environment, **variables})
        self._started.append(started)
        return started

    def call(self, *words: object, seconds: float = 300, **variables: str) -> Started:
        """Run a command to its end, for at most ``seconds``."""
        started = self.start(*words, **variables)
        started.wait(seconds)
        return started

    def processes(self) -> dict[int, str]:
        """Return the running processes of the namespace: process number in the namespace -> command line."""
        listed = self.call("ps", "-e", "-o", "pid=,stat=,args=", "ww").said().splitlines()
        running = {}
        for line in listed:
            pid, state, arguments = line.split(None, 2)
            if not state.startswith("Z") and int(pid) != 1 and "ps -e -o" not in arguments:
                running[int(pid)] = arguments
        return running

    def kill(self, pid: int, signal: str = "KILL") -> None:
        """Send a signal to a process by its number in the namespace."""
        assert self.call("kill", f"-{signal}", pid).code == 0, f"no process {pid} to kill"

    def wait_for_none(self, words: str, seconds: float = 60) -> None:
        """Wait until no command line in the namespace contains ``words``."""
        deadline = time.monotonic() + seconds
        while matching := {pid: line for pid, line in self.processes().items() if words in line}:
            assert time.monotonic() < deadline, f"still there: {matching}"
            time.sleep(0.3)
