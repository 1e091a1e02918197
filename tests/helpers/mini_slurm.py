"""A real Slurm of four virtual nodes for a test, by ``hpc/mini-slurm``."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "hpc/mini-slurm"


@contextmanager
def mini_slurm(**settings: object) -> Iterator[dict[str, str]]:
    """Start a Slurm, and stop it with all its jobs however the test ends.

    Args:
        settings: variables of ``mini-slurm --help`` without their prefix, such as ``nodes=2``.

    Yields:
        the environment with which ``sbatch`` and the others find it (``SLURM_CONF``).
    """
    # not pytest's tmp_path: sockets lie in it, and their paths may have at most 107 bytes
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as folder:
        options = {f"MINI_SLURM_{name.upper()}": str(value) for name, value in settings.items()}
        # what a surrounding job has set would lead the clients astray
        outer = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        try:
            control("start", folder, outer | options)
            yield outer | {"SLURM_CONF": f"{folder}/slurm.conf"}
        finally:
            control("stop", folder, outer)


def control(action: str, folder: str, environment: dict[str, str] | None = None) -> str:
    """Call ``mini-slurm`` and return what it prints."""
    # output goes to a file: daemons that inherited a pipe would keep it open
    with tempfile.TemporaryFile("w+") as output:
        code = subprocess.run(
            [str(SCRIPT), action, folder], stdout=output, stderr=subprocess.STDOUT, env=environment, timeout=90
        ).returncode
        output.seek(0)
        text = output.read()
    assert code == 0, f"mini-slurm {action}: {text}"
    return text


def ask(environment: dict[str, str], *command: object) -> str:
    """Run a client of Slurm and return what it prints."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment, timeout=90)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


def submit(environment: dict[str, str], *arguments: object) -> str:
    """Call ``sbatch`` and return the job's id."""
    return ask(environment, "sbatch", "--parsable", *arguments).strip()


def states(environment: dict[str, str], job: str) -> list[str]:
    """Return the state of each element of a job, also of elements that have ended."""
    return ask(environment, "squeue", "--noheader", "--array", "--states=all", "--format=%T", f"--jobs={job}").split()


ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY"}


def wait_for_job(environment: dict[str, str], job: str, seconds: float = 120) -> list[str]:
    """Wait until every element of a job has ended, and return their states."""
    deadline = time.monotonic() + seconds
    while not (job_states := states(environment, job)) or not set(job_states) <= ENDED:
        assert time.monotonic() < deadline, f"job {job} is still {job_states}"
        time.sleep(0.1)
    return job_states


@contextmanager
def lost_node(environment: dict[str, str], node: str) -> Iterator[None]:
    """Lose a node, as if its power failed: all of its processes are gone at once, and Slurm is told that it is down.

    Marking a living node as down is something else. What runs there goes on, the node is back at once, and a requeued
    job may get it again; then steps of the same name, the old one and the new, end each other.

    Args:
        environment: leads to the Slurm.
        node: its name; afterwards it is back.
    """
    for pid in _processes_of_node(environment["SLURM_CONF"], node):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    ask(environment, "scontrol", "update", f"nodename={node}", "state=down", "reason=lost")
    try:
        yield
    finally:
        path = f"{environment['PATH']}:/usr/sbin:/sbin"
        slurmd = ["slurmd", "-f", environment["SLURM_CONF"], "-N", node]
        # output as in `control`: the daemon lives on
        subprocess.run(slurmd, env={**environment, "PATH": path}, stdout=subprocess.DEVNULL, check=True, timeout=60)


def _processes_of_node(configuration: str, node: str) -> list[int]:
    """The node's daemon, then what watches over steps, then the steps: so nobody reports another one's end."""
    daemons, watchers, tasks = [], set(), []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has just ended
        if f"SLURM_CONF={configuration}".encode() not in variables:
            continue
        if words[0].endswith(b"slurmd") and node.encode() in words:
            daemons.append(int(folder.name))
        elif f"SLURMD_NODENAME={node}".encode() in variables:
            tasks.append(int(folder.name))
            if b"slurmstepd" in Path(f"/proc/{parent}/cmdline").read_bytes():
                watchers.add(parent)
    return [*daemons, *watchers, *tasks]
