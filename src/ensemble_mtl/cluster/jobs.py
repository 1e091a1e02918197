"""From a study and a site to jobs: how many processes start on how many nodes, and with which command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from ensemble_mtl.cluster.base import FAMILY, Job, Scheduler, Shell
from ensemble_mtl.cluster.site import Site, seconds
from ensemble_mtl.launch.base import make_shards
from ensemble_mtl.study.directory import Study

LAUNCHERS = ("array", "mpi", "ray")
"""A job array whose elements have one node each, or one allocation in which MPI or Ray manages the processes."""


class Request(NamedTuple):
    """What is to be submitted.

    Attributes:
        study: the study whose members are trained.
        site: the machine on which they are trained.
        launcher: one of ``LAUNCHERS``.
        name: name of the submission, and of its files in the study's folder ``jobs``.
        elements: number of elements of a job array; None for :func:`default_elements`.
    """

    study: Study
    site: Site
    launcher: str
    name: str
    elements: int | None = None

    @property
    def scheduler(self) -> Scheduler:
        """The site's batch system."""
        return FAMILY.of(self.site.scheduler)


def training(request: Request) -> Job:
    """Return the job that trains the members without a result."""
    return {"array": _array, "mpi": _mpi, "ray": _ray}[request.launcher](request)


def gathering(request: Request) -> Job:
    """Return the job that gathers the results and reports, after the one that trains has ended."""
    site = request.site
    time = min(site.gather_time, site.time, key=seconds)
    command = (*_python(site), "-m", "ensemble_mtl", "report", *_study_arguments(request))
    # it takes one GPU where nodes have any, since the queues of such nodes accept no job without
    gpus = min(1, site.gpus_per_node)
    return Job(f"{request.name}.gather", _folder(request), site, 1, 1, gpus, time, command, resumable=False)


def default_elements(request: Request) -> int:
    """Return the number of elements of a job array at which each worker gets about one of the smallest shards."""
    members = request.study.plan()
    launch = request.study.config.launch
    shards = make_shards(members, launch.members_per_shard, len(members), mixed=launch.mix_subsets)
    return min(request.site.max_array, -(-len(shards) // request.site.workers_per_node))


def _array(request: Request) -> Job:
    """Return a job array; each element trains its part of the members with local workers on one node."""
    elements = request.elements or default_elements(request)
    workers = f"launch.launcher.workers={request.site.workers_per_node}"
    part = Shell(f'--part "{request.scheduler.INDEX}/{elements}"')
    # where a site says how a process is started on a node, scripts may run elsewhere than on that node (as on Summit)
    start = _with_values(request.site.per_node or (), request.site, nodes=1, tasks=1)
    command = (*start, *_python(request.site), *_run_arguments(request, "local"), "--set", workers, part)
    return _job(request, 1, 1, command, elements)


def _mpi(request: Request) -> Job:
    """Return a job in which MPI starts a rank for every worker."""
    site = request.site
    start = _with_values(site.mpi or request.scheduler.MPI, site, site.nodes, site.workers_per_node)
    # -m mpi4py: an exception in one rank ends all of them
    command = (*start, *_python(site), "-m", "mpi4py", *_run_arguments(request, "mpi"))
    return _job(request, site.nodes, site.workers_per_node, command)


def _ray(request: Request) -> Job:
    """Return a job that starts one process on each node; these form a Ray cluster and run the study in it."""
    site = request.site
    start = _with_values(site.per_node or request.scheduler.PER_NODE, site, site.nodes, 1)
    # the folder in which the processes of one start of the job meet
    meeting = Shell(f'"$submission/ray-{request.scheduler.JOB}-$restarts"')
    nodes = ["--nodes", str(site.nodes), "--cpus", str(site.cpus_per_node), "--gpus", str(site.gpus_per_node)]
    if site.interface:
        nodes += ["--interface", site.interface]
    python = _python(site)
    command = [*start, *python, "-m", "ensemble_mtl.launch.ray.nodes", meeting, *nodes, "--"]
    command += [*python, *_run_arguments(request, "ray")]
    if site.gpus_per_node:
        command += ["--set", f"launch.launcher.gpus_per_shard={1 / site.workers_per_gpu:.4g}"]
    return _job(request, site.nodes, 1, command)


def _job(request: Request, nodes: int, tasks_per_node: int, command: Sequence[str], elements: int = 0) -> Job:
    site = request.site
    folder, gpus = _folder(request), site.gpus_per_node
    # for an array, the site's number of nodes is a limit only if it was written down, and not by default
    max_running = site.nodes if elements and "nodes" in site.model_fields_set else 0
    time = site.time
    return Job(request.name, folder, site, nodes, tasks_per_node, gpus, time, tuple(command), elements, max_running)


def _folder(request: Request) -> Any:
    return request.study.root / "jobs" / request.name


def _python(site: Site) -> tuple[str, ...]:
    # -P: nothing is imported from the folder that the job starts in, where a user's random.py may lie
    return (site.python or sys.executable, "-P")


def _study_arguments(request: Request) -> tuple[str, ...]:
    # a copy of the configuration is used, so that later changes of the user's file do not change the job
    return (str(_folder(request) / "study.yaml"), "--out", str(request.study.root))


def _run_arguments(request: Request, launcher: str) -> tuple[str, ...]:
    return ("-m", "ensemble_mtl", "run", *_study_arguments(request), "--launcher", launcher, "--no-report")


def _with_values(words: Sequence[str], site: Site, nodes: int, tasks: int) -> list[str]:
    """Return the words of a launch command with values in place of placeholders such as ``{nodes}``.

    Args:
        words: the words.
        site: the machine.
        nodes: number of nodes.
        tasks: number of processes on each node.
    """
    cpus = max(1, site.cpus_per_node // tasks)
    values = {"nodes": nodes, "tasks": nodes * tasks, "tasks_per_node": tasks, "cpus_per_task": cpus}
    values |= {"cpus_per_node": site.cpus_per_node, "gpus_per_node": site.gpus_per_node}
    return [word.format_map(values) for word in words]
