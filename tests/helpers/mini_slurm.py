"""A real Slurm of four virtual nodes for a test, by ``hpc/mini-slurm``."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
    """``sbatch``; returns the job's id."""
    return ask(environment, "sbatch", "--parsable", *arguments).strip()


def states(environment: dict[str, str], job: str) -> list[str]:
    """State of each element of a job, also of those that have ended."""
    return ask(environment, "squeue", "--noheader", "--array", "--states=all", "--format=%T", f"--jobs={job}").split()


ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY"}


def wait_for_job(environment: dict[str, str], job: str, seconds: float = 120) -> list[str]:
    """Wait until every element has ended; returns the states."""
    deadline = time.monotonic() + seconds
    while not (found := states(environment, job)) or not set(found) <= ENDED:
        assert time.monotonic() < deadline, f"job {job} is still {found}"
        time.sleep(0.1)
    return found
