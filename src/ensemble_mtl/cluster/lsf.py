"""LSF: ``bsub``, ``bjobs``, ``bkill``."""

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
COLUMNS = ("jobid", "jobindex", "stat", "exit_reason", "pend_reason")


class Options(registry.Options):
    """Directives of LSF that a site may add.

    Attributes:
        allocate: ``slots`` asks for cores (``-n`` and ``span``), ``nodes`` for whole nodes (``-nnodes``, as on Summit).
        alloc_flags: words of ``-alloc_flags``, e.g. ``[gpumps, smt1]``.
        resources: further resource requirement, e.g. ``rusage[mem=4GB]``.
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
    """The ``bsub`` script of ``job``."""
    element = f"{JOB}-{INDEX}" if job.elements else JOB
    count = f'"$submission/restarts-{element}"'
    dialect = Dialect(
        # LSF throws away the output of a run that it requeues
        start=[f'exec >>{quote(job.name)}."{element}".log 2>&1'] if job.resumable else [],
        end="",
        restarts=f"$(cat {count} 2>/dev/null || echo 0)",
        traps=["trap : USR1 USR2 INT TERM # LSF sends them to every process of the job: let them checkpoint"],
        requeue=[f"echo $((restarts + 1)) >{count} && exit {EXIT_CHECKPOINTED} # which -Q makes run again"],
    )
    return script(job, [f"#BSUB {line}" for line in _directives(job)], dialect)


def _directives(job: Job) -> list[str]:
    site, options = job.site, job.site.scheduler
    array = f"[1-{job.elements}]" if job.elements else ""
    array += f"%{job.at_once}" if job.at_once else ""
    lines = [f'-J "{job.name}{array}"', f"-o {job.name}.{'%J-%I' if job.elements else '%J'}.out"]
    if options.allocate == "nodes":
        lines.append(f"-nnodes {job.nodes}")
    else:
        cores = job.tasks_per_node * job.cpus_per_task
        lines += [f"-n {job.nodes * cores}", f'-R "span[ptile={cores}]"']
        if job.gpus_per_node:
            lines.append(f'-gpu "num={job.gpus_per_node}"')
    lines.append(f"-W {_minutes(seconds(job.time))}")
    given = {"-P": site.account, "-q": site.queue, "-R": options.resources, "-U": options.reservation}
    given |= {"-m": options.hosts, "-u": options.mail_user, "-alloc_flags": " ".join(options.alloc_flags)}
    lines += [f'{option} "{value}"' for option, value in given.items() if value]
    if options.exclusive:
        lines.append("-x")
    if job.resumable:
        # -r: run again after a node has failed; -wa, -wt: the signal, and how long before the limit
        lines += [f'-Q "{EXIT_CHECKPOINTED}"', "-r", "-wa USR1", f"-wt {_minutes(site.signal_seconds)}"]
    return lines


def _minutes(total: int) -> str:
    """``H:MM``, as LSF counts."""
    minutes = -(-total // 60)
    return f"{minutes // 60}:{minutes % 60:02d}"


def submit(script: Path, after: str | None = None) -> str:
    """Submit the script in its own folder; the job's id."""
    # ended(), since done() would wait for ever for a job with an element that failed
    wait = ["-w", f"ended({after})"] if after else []
    told = ask(["bsub", *wait], script.parent, script.read_text())
    found = re.search(r"Job <(\d+)> is submitted", told)
    if not found:
        raise StudyError(f"bsub: expected 'Job <ID> is submitted …', got {told.strip()!r}")
    return found[1]


def states(ids: Sequence[str]) -> list[State]:
    """Of each job, and of each element of an array."""
    found: list[State] = []
    for name in ids:  # one by one: an id that is unknown by now makes the command fail
        found += _of_job(name)
    return found


def _of_job(name: str) -> list[State]:
    columns = f"{' '.join(COLUMNS)} delimiter='|'"
    try:
        told = ask(["bjobs", "-a", "-noheader", "-o", columns, name], seconds=LOOK_SECONDS)
    except StudyError as error:
        if "is not found" not in str(error):
            raise
        return [State(name, "GONE", False, "ended; no longer in bjobs", None)]
    return [_state(line) for line in told.splitlines() if line.count("|") >= len(COLUMNS) - 1]


def _state(line: str) -> State:
    job, index, state, exit_reason, pend_reason = (value.strip() for value in line.split("|", len(COLUMNS) - 1))
    name = job if index in ("0", "-", "") else f"{job}_{index}"
    reason = next((text for text in (exit_reason, pend_reason) if text not in ("", "-")), "")
    return State(name, state, state in LIVE, reason, None)


def cancel(ids: Sequence[str]) -> None:
    """End the jobs: SIGINT, then SIGTERM, then SIGKILL, ten seconds apart unless the site says otherwise."""
    cancel_each("bkill", ids, ["already finished", "not found"])
