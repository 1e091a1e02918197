"""What every batch system offers: a script, and the commands that submit, watch and cancel it.

A scheduler is a module with

* ``Options(registry.Options)``: the directives that a site may add, which are all there are;
* ``MPI`` and ``PER_NODE``: words that start every rank, and one process per node, if the site does not say;
* ``JOB`` and ``INDEX``: shell for the id of a job that is no array, and for an element's number, from 1;
* ``render(job) -> str``: the script, a function of ``job`` alone;
* ``submit(script, after) -> str``: hand it over, to start after the job ``after`` has ended however it did;
* ``states(ids) -> list[State]``: what has become of these jobs, element by element;
* ``cancel(ids)``: end them.

Commands are lists and never shell text; a fault of theirs is a :class:`StudyError` with their own words.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ensemble_mtl.cluster.site import Site
from ensemble_mtl.core.errors import StudyError

COMMAND_SECONDS = 60.0
"""A busy controller answers late; one that is down, never."""
LOOK_SECONDS = 20.0
"""The same where a person waits to see the states, and nothing is lost without."""


class SilentSchedulerError(StudyError):
    """A command of the scheduler's did not answer in time; it may have been carried out all the same."""


class Shell(str):
    """A word that is shell already and is not quoted."""

    __slots__ = ()


@dataclass(frozen=True)
class Job:
    """One script.

    Attributes:
        name: of the job and, with endings, of its files.
        folder: what belongs to the submission: its configuration, counts of restarts, the sign of a cancellation.
        site: where.
        nodes: of the allocation, or of each element.
        tasks_per_node: processes that the launch command starts on each node.
        gpus_per_node: taken on each node.
        time: limit, ``HH:MM:SS``.
        command: words; what they start exits as ``ensemble-mtl run`` does.
        elements: of a job array; 0 if it is none.
        at_once: most elements that run at a time; 0 for no limit.
        resumable: whether it is asked to checkpoint before its limit, and requeued.
    """

    name: str
    folder: Path
    site: Site
    nodes: int
    tasks_per_node: int
    gpus_per_node: int
    time: str
    command: tuple[str, ...]
    elements: int = 0
    at_once: int = 0
    resumable: bool = True

    @property
    def cpus_per_task(self) -> int:
        """Cores of each process."""
        return max(1, self.site.cpus_per_node // self.tasks_per_node) if self.resumable else 1


class State(NamedTuple):
    """What a scheduler says of a job, or of one element of an array.

    Attributes:
        id: ``12``, or ``12_3`` for an element.
        state: in the scheduler's words.
        live: whether it waits or runs.
        reason: why it waits or has ended; may be empty.
        restarts: how often it was requeued; None where the scheduler does not count.
    """

    id: str
    state: str
    live: bool
    reason: str
    restarts: int | None


def cancel_each(command: str, ids: Sequence[str], over: Sequence[str]) -> None:
    """Cancel the jobs one by one, so that none keeps the others.

    Args:
        command: takes one id.
        ids: the jobs.
        over: what it says of jobs that have ended, or are forgotten.

    Raises:
        StudyError: some could not be cancelled; all others are.
    """
    faults = []
    for name in ids:
        try:
            ask([command, name])
        except StudyError as error:
            if not any(text in str(error) for text in over):
                faults.append(f"job {name}: {error}")
    if faults:
        raise StudyError("; ".join(faults))


def ask(command: Sequence[str], folder: Path | None = None, script: str = "", seconds: float = COMMAND_SECONDS) -> str:
    """Run one of the scheduler's commands; what it prints.

    Args:
        command: words.
        folder: working directory, which becomes that of the job.
        script: given on standard input.
        seconds: how long to wait.

    Raises:
        StudyError: it is not there, fails or does not answer.
    """
    try:
        done = subprocess.run(
            list(command),
            input=script,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            cwd=folder,
        )
    except FileNotFoundError:
        text = "run this on a login node of the cluster, or use `submit --dry-run` to see the scripts"
        raise StudyError(f"{command[0]}: not found; {text}") from None
    except subprocess.TimeoutExpired:
        raise SilentSchedulerError(f"{command[0]}: no answer in {seconds:.0f} s; is the scheduler down?") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").removesuffix(".")
        raise StudyError(f"{command[0]} refused: {said}")
    return done.stdout
