"""The batch system LSF, with its commands ``bsub``, ``bjobs`` and ``bkill``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ensemble_mtl.cluster.base import LOOK_SECONDS, Job, State, ask, cancel_each
from ensemble_mtl.cluster.script import Dialect, quote, script
from ensemble_mtl.cluster.site import Word, seconds
from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import EXIT_CHECKPOINTED, StudyError

MPI = ("mpiexec", "-n", "{tasks}")
PER_NODE = ("mpiexec", "-n", "{nodes}", "-ppn", "1")
JOB = "$LSB_JOBID"
INDEX = "$LSB_JOBINDEX"

LIVE = {"PEND", "PROV", "PSUSP", "RUN", "USUSP", "SSUSP", "WAIT", "UNKWN"}
"""States of jobs that wait or run."""
COLUMNS = ("jobid", "jobindex", "stat", "exit_reason", "pend_reason")
"""What ``bjobs`` is asked to print of each job."""


class Options(registry.Options):
    """Directives of LSF that a site may add.

    Attributes:
        allocate: ``slots`` asks for cores (``-n`` and ``span``), ``nodes`` for whole nodes (``-nnodes``, as on Summit).
        alloc_flags: words of ``-alloc_flags``, e.g. ``[gpumps, smt1]``.
        resources: further resource requirement (``-R``), e.g. ``rusage[mem=4GB]``.
        reservation: advance reservation to use (``-U``).
        hosts: hosts to run on (``-m``).
        mail_user: address for mails (``-u``).
        exclusive: whole hosts that no other job shares (``-x``).
    """

    name: Literal["lsf"] = "lsf"
    allocate: Literal["slots", "nodes"] = "slots"
    alloc_flags: tuple[Word, ...] = ()
    resources: Word | None = None
    reservation: Word | None = None
    hosts: Word | None = None
    mail_user: Word | None = None
    exclusive: bool = False


def render(job: Job) -> str:
    """Return the ``bsub`` script of ``job``."""
    element = f"{JOB}-{INDEX}" if job.elements else JOB
    # LSF tells no number of restarts, so the script counts them in a file
    count_file = f'"$submission/restarts-{element}"'
    dialect = Dialect(
        # LSF discards the output of a run that it requeues, so the script writes it to a file of its own
        start=[f'exec >>{quote(job.name)}."{element}".log 2>&1'] if job.resumable else [],
        end="",
        restarts=f"$(cat {count_file} 2>/dev/null || echo 0)",
        traps=["trap : USR1 USR2 INT TERM # LSF sends them to every process of the job: let them checkpoint"],
        requeue=[f"echo $((restarts + 1)) >{count_file} && exit {EXIT_CHECKPOINTED} # which -Q makes run again"],
    )
    return script(job, [f"#BSUB {line}" for line in _directives(job)], dialect)


def _directives(job: Job) -> list[str]:
    """Return the directives of ``job``, without the ``#BSUB`` before each."""
    site, options = job.site, job.site.scheduler
    array = f"[1-{job.elements}]" if job.elements else ""
    array += f"%{job.max_running_elements}" if job.max_running_elements else ""
    lines = [f'-J "{job.name}{array}"', f"-o {job.name}.{'%J-%I' if job.elements else '%J'}.out"]
    if options.allocate == "nodes":
        lines.append(f"-nnodes {job.nodes}")
    else:
        cores = job.tasks_per_node * job.cpus_per_task
        lines += [f"-n {job.nodes * cores}", f'-R "span[ptile={cores}]"']
        if job.gpus_per_node:
            lines.append(f'-gpu "num={job.gpus_per_node}"')
    lines.append(f"-W {_minutes(seconds(job.time))}")
    values = {"-P": site.account, "-q": site.queue, "-R": options.resources, "-U": options.reservation}
    values |= {"-m": options.hosts, "-u": options.mail_user, "-alloc_flags": " ".join(options.alloc_flags)}
    lines += [f'{directive} "{value}"' for directive, value in values.items() if value]
    if options.exclusive:
        lines.append("-x")
    if job.resumable:
        # -r: run again after a node has failed; -wa, -wt: the signal, and how long before the limit
        lines += [f'-Q "{EXIT_CHECKPOINTED}"', "-r", "-wa USR1", f"-wt {_minutes(site.signal_seconds)}"]
    return lines


def _minutes(num_seconds: int) -> str:
    """Return a time in seconds as ``H:MM``, rounded up to the whole minutes in which LSF counts."""
    minutes = -(-num_seconds // 60)
    return f"{minutes // 60}:{minutes % 60:02d}"


def submit(script: Path, after: str | None = None) -> str:
    """Submit the script in its own folder, and return the job's id.

    Args:
        script: path of the script.
        after: id of a job after whose end this one may start.

    Raises:
        StudyError: LSF refuses the job, does not answer, or gives an answer without an id.
    """
    # ended(), since done() would wait for ever for a job with an element that failed
    wait = ["-w", f"ended({after})"] if after else []
    answer = ask(["bsub", *wait], script.parent, script.read_text())
    match = re.search(r"Job <(\d+)> is submitted", answer)
    if not match:
        raise StudyError(
            f"bsub: got the answer {answer.strip()!r}, expected 'Job <ID> is submitted …'; look with `bjobs` whether "
            "the job was taken"
        )
    return match[1]


def states(ids: Sequence[str]) -> list[State]:
    """Return the state of each job, or of each of its elements if it is an array.

    Raises:
        StudyError: LSF does not answer.
    """
    # one by one: an id that LSF has forgotten makes the command fail
    return [state for job_id in ids for state in _states_of_job(job_id)]


def _states_of_job(job_id: str) -> list[State]:
    """Return the states of all elements of a job; a job that LSF has forgotten has ended."""
    columns = f"{' '.join(COLUMNS)} delimiter='|'"
    try:
        answer = ask(["bjobs", "-a", "-noheader", "-o", columns, job_id], seconds=LOOK_SECONDS)
    except StudyError as error:
        if "is not found" not in str(error):
            raise
        return [State(job_id, "GONE", False, "ended; no longer in bjobs", None)]
    return [_state(line) for line in answer.splitlines() if line.count("|") >= len(COLUMNS) - 1]


def _state(line: str) -> State:
    """Return the state in a line of ``bjobs`` with the fields :data:`COLUMNS`."""
    job, index, state, exit_reason, pend_reason = (value.strip() for value in line.split("|", len(COLUMNS) - 1))
    element_id = job if index in ("0", "-", "") else f"{job}_{index}"
    reason = next((text for text in (exit_reason, pend_reason) if text not in ("", "-")), "")
    return State(element_id, state, state in LIVE, reason, None)


def cancel(ids: Sequence[str]) -> None:
    """End the jobs, by SIGINT, SIGTERM and SIGKILL with ten seconds in between unless the site says otherwise.

    Raises:
        StudyError: some jobs could not be cancelled; all others are.
    """
    cancel_each("bkill", ids, ["already finished", "not found"])
