"""What every batch system offers: a script, and the commands that submit, watch and cancel it.

Commands are lists and never shell text; a fault of theirs is a :class:`StudyError` with their own words.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from ensemble_mtl.cluster.site import Site
from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import StudyError

COMMAND_SECONDS = 60.0
"""How long to wait for an answer of the scheduler. A busy controller answers late; one that is down, never."""
LOOK_SECONDS = 20.0
"""How long to wait for the states of jobs: a person waits to see them, and nothing is lost without them."""


class SilentSchedulerError(StudyError):
    """A command of the scheduler did not answer in time; it may have been carried out all the same."""


class Shell(str):
    """A word that is a piece of shell already, and must not be quoted."""

    __slots__ = ()


@dataclass(frozen=True)
class Job:
    """All that determines one job script.

    Attributes:
        name: name of the job and, with endings, of its files.
        folder: folder of the submission, with its configuration, its counts of restarts and the sign that it is
            cancelled.
        site: the machine on which the job runs.
        nodes: number of nodes of the allocation, or of each element of a job array.
        tasks_per_node: number of processes that the launch command starts on each node.
        gpus_per_node: number of GPUs that the job takes on each node.
        time: time limit, ``HH:MM:SS``.
        command: words of the command; what it starts exits as ``ensemble-mtl run`` does.
        elements: number of elements of a job array; 0 if the job is no array.
        max_running_elements: most elements of a job array that run at a time; 0 for no limit.
        resumable: whether the job is asked to checkpoint before its time limit, and requeued.
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
    max_running_elements: int = 0
    resumable: bool = True

    @property
    def cpus_per_task(self) -> int:
        """Number of cores of each process; 1 for a job that is not resumable, which only gathers."""
        return max(1, self.site.cpus_per_node // self.tasks_per_node) if self.resumable else 1


class State(NamedTuple):
    """What a scheduler says of a job, or of one element of a job array.

    Attributes:
        id: id of the job, such as ``12``, or ``12_3`` for an element.
        state: state of the job in the scheduler's words.
        live: whether the job waits or runs.
        reason: why the job waits or has ended; may be empty.
        restarts: how often the job was requeued; None where the scheduler does not count.
    """

    id: str
    state: str
    live: bool
    reason: str
    restarts: int | None


class Scheduler(Protocol):
    """A module with one batch system; its options come from a site's ``scheduler``."""

    Options: type[registry.Options]
    """The directives that a site may add, which are all there are."""
    MPI: tuple[str, ...]
    """Words that start every rank, if the site does not say."""
    PER_NODE: tuple[str, ...]
    """Words that start one process on each node, if the site does not say."""
    JOB: str
    """Shell for the id of a job that is no array."""
    INDEX: str
    """Shell for the number of an array's element, from 1."""

    def render(self, job: Job) -> str:
        """The script, a function of ``job`` alone."""

    def submit(self, script: Path, after: str | None = None) -> str:
        """Hand the script over, to start after the job ``after`` has ended however it did; the job's id."""

    def states(self, ids: Sequence[str]) -> list[State]:
        """What has become of these jobs, element by element."""

    def cancel(self, ids: Sequence[str]) -> None:
        """End these jobs."""


FAMILY = registry.Family[Scheduler]("cluster", Scheduler)


def cancel_each(command: str, ids: Sequence[str], ended_texts: Sequence[str]) -> None:
    """Cancel the jobs one by one, so that one that cannot be cancelled does not protect the others.

    Args:
        command: the scheduler's command, which takes one id.
        ids: ids of the jobs.
        ended_texts: what the command says of jobs that have ended, or that the scheduler has forgotten.

    Raises:
        StudyError: some jobs could not be cancelled; all others are.
    """
    faults = []
    for job_id in ids:
        try:
            ask([command, job_id])
        except StudyError as error:
            if not any(text in str(error) for text in ended_texts):
                faults.append(f"job {job_id}: {error}")
    if faults:
        raise StudyError("; ".join(faults))


def ask(command: Sequence[str], folder: Path | None = None, script: str = "", seconds: float = COMMAND_SECONDS) -> str:
    """Run one of the scheduler's commands, and return what it prints.

    Args:
        command: words of the command.
        folder: working directory, which becomes that of the job.
        script: text for its standard input.
        seconds: how long to wait for its end.

    Raises:
        StudyError: the command is not there, fails or does not answer.
    """
    try:
        process = subprocess.run(
            list(command),
            input=script,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            cwd=folder,
        )
    except FileNotFoundError:
        remedy = "run this on a login node of the cluster, or use `submit --dry-run` to see the scripts"
        raise StudyError(f"{command[0]}: the command is not found; {remedy}") from None
    except subprocess.TimeoutExpired:
        raise SilentSchedulerError(
            f"{command[0]}: the scheduler gave no answer in {seconds:.0f} s; check whether it is down"
        ) from None
    if process.returncode:
        reason = process.stderr.strip() or process.stdout.strip() or f"exit code {process.returncode}"
        raise StudyError(f"{command[0]} refused: {reason.removesuffix('.')}")
    return process.stdout
