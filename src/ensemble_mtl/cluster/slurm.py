"""The batch system Slurm, with its commands ``sbatch``, ``squeue`` and ``scancel``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt

from ensemble_mtl.cluster.base import LOOK_SECONDS, Job, State, ask, cancel_each
from ensemble_mtl.cluster.script import Dialect, script
from ensemble_mtl.cluster.site import Word
from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import StudyError

# --kill-on-bad-exit: otherwise the other ranks wait for ever for one that was killed
MPI = ("srun", "--mpi=pmi2", "--kill-on-bad-exit=1")
# Slurm reads 1024 bytes of a PMI-1 request and takes the rest for the next request. MPICH with UCX publishes 4 KiB per
# rank, most of which is whatever was in memory, compressed by leaving out zeros. Now and then a segment is too long,
# and the job hangs in its start. With OFI the address of a rank takes a few bytes.
NETWORK = 'export MPIR_CVAR_CH4_NETMOD="${MPIR_CVAR_CH4_NETMOD:-ofi}" # pmi2 has no room for UCX addresses'
PER_NODE = ("srun", "--ntasks={nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1")
JOB = "$SLURM_JOB_ID"
INDEX = "$SLURM_ARRAY_TASK_ID"

LIVE = {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "STOPPED", "SIGNALING", "STAGE_OUT"}
LIVE |= {"REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESIZING", "SPECIAL_EXIT", "RESV_DEL_HOLD"}
"""States of jobs that wait or run."""
COLUMNS = {"JobArrayID": 64, "State": 32, "RestartCnt": 16, "Reason": 256}
"""What ``squeue`` is asked to print of each job: names of fields, and their widths in characters."""


class Options(registry.Options):
    """Directives of Slurm that a site may add.

    All have the names of ``sbatch``'s own options, with ``_`` for ``-``, except for the following.

    Attributes:
        gpus: how GPUs are asked for: ``--gpus-per-node``, or ``--gres`` on old installations.
        exclusive: whole nodes, where the partition would share them with other jobs.
    """

    name: Literal["slurm"] = "slurm"
    qos: Word | None = None
    constraint: Word | None = None
    reservation: Word | None = None
    licenses: Word | None = None
    exclude: Word | None = None
    mem: Word | None = None
    core_spec: NonNegativeInt | None = None
    mail_user: Word | None = None
    mail_type: Word | None = None
    exclusive: bool = False
    gpus: Literal["gpus-per-node", "gres"] = "gpus-per-node"


def render(job: Job) -> str:
    """Return the ``sbatch`` script of ``job``."""
    job_id = f"${{SLURM_ARRAY_JOB_ID}}_{INDEX}" if job.elements else "$SLURM_JOB_ID"
    dialect = Dialect(
        start=[],
        end="${{SLURM_JOB_END_TIME:-{}}}",
        restarts='"${SLURM_RESTART_COUNT:-0}"',
        traps=[
            "trap 'kill -USR1 \"$child\"' USR1 # before the limit, to this shell alone: checkpoint",
            "trap : TERM # at the end, to every process: let them checkpoint",
        ],
        requeue=[f'scontrol requeue "{job_id}" && exec sleep 600 # until the scheduler ends it'],
    )
    if job.tasks_per_node > 1 or job.nodes > 1:
        # srun does not take over sbatch's --cpus-per-task
        dialect.start.append(f"export SRUN_CPUS_PER_TASK={job.cpus_per_task}")
    if "--mpi=pmi2" in job.command:
        dialect.start.append(NETWORK)
    return script(job, [f"#SBATCH --{line}" for line in _directives(job)], dialect)


def _directives(job: Job) -> list[str]:
    """Return the directives of ``job``, without the ``#SBATCH --`` before each."""
    site, options = job.site, job.site.scheduler
    lines = [f"job-name={job.name}", f"output={job.name}.{'%A_%a' if job.elements else '%j'}.log"]
    if job.elements:
        lines.append(f"array=1-{job.elements}" + (f"%{job.max_running_elements}" if job.max_running_elements else ""))
    lines += [f"nodes={job.nodes}", f"ntasks-per-node={job.tasks_per_node}", f"cpus-per-task={job.cpus_per_task}"]
    if job.gpus_per_node:
        gpus = "gpus-per-node=" if options.gpus == "gpus-per-node" else "gres=gpu:"
        lines.append(f"{gpus}{job.gpus_per_node}")
    lines.append(f"time={job.time}")
    lines += [f"{key}={value}" for key, value in (("account", site.account), ("partition", site.queue)) if value]
    keys = ("qos", "constraint", "reservation", "licenses", "exclude", "mem", "core_spec", "mail_user", "mail_type")
    values = ((key.replace("_", "-"), getattr(options, key)) for key in keys)
    lines += [f"{directive}={value}" for directive, value in values if value is not None]
    if options.exclusive:
        lines.append("exclusive")
    if job.resumable:
        lines += [f"signal=B:USR1@{site.signal_seconds}", "requeue", "open-mode=append"]
    return lines


def submit(script: Path, after: str | None = None) -> str:
    """Submit the script in its own folder, and return the job's id.

    Args:
        script: path of the script.
        after: id of a job after whose end this one may start.

    Raises:
        StudyError: Slurm refuses the job, does not answer, or would misread the folder's name.
    """
    if set(str(script.parent)) & set(
        "%\\\n"
    ):  # the output would go to another folder or nowhere, and the job would fail
        raise StudyError(f"{script.parent}: Slurm reads '%' and '\\' in a path as patterns; choose another --out")
    # a dependency that cannot be met any more would keep the job in the queue for ever
    wait = [f"--dependency=afterany:{after}", "--kill-on-invalid-dep=yes"] if after else []
    answer = ask(["sbatch", "--parsable", *wait, str(script)], script.parent)
    return answer.strip().partition(";")[0]  # the name of the cluster may follow


def states(ids: Sequence[str]) -> list[State]:
    """Return the state of each job, or of each of its elements if it is an array.

    Raises:
        StudyError: Slurm does not answer.
    """
    columns = ",".join(f"{name}:{width}" for name, width in COLUMNS.items())
    command = ["squeue", "--noheader", "--array", "--states=all", f"--Format={columns}"]
    try:
        answer = ask([*command, f"--jobs={','.join(ids)}"], seconds=LOOK_SECONDS)
    except StudyError as error:
        if "Invalid job id" not in str(error):
            raise
        answer = ""  # there is a single id, and Slurm has forgotten its job
    listed = [_state(line) for line in answer.splitlines() if line.strip()]
    listed_ids = {state.id.partition("_")[0] for state in listed}
    gone = [
        State(job_id, "GONE", False, "ended; no longer in squeue", None) for job_id in ids if job_id not in listed_ids
    ]
    return listed + gone


def _state(line: str) -> State:
    """Return the state in a line of ``squeue`` with the fields :data:`COLUMNS`."""
    values, start = [], 0
    for width in COLUMNS.values():
        values.append(line[start : start + width].strip())
        start += width
    element_id, state, restarts, reason = values
    return State(element_id, state, state in LIVE, "" if reason == "None" else reason, int(restarts or 0))


def cancel(ids: Sequence[str]) -> None:
    """End the jobs, by SIGTERM and after the site's ``KillWait`` by SIGKILL.

    Raises:
        StudyError: some jobs could not be cancelled; all others are.
    """
    cancel_each("scancel", ids, ["Invalid job id", "already completed"])
