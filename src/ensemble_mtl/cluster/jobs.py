"""From a study and a site to jobs: how many processes start where, and with which command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from ensemble_mtl.cluster.base import Job, Shell
from ensemble_mtl.cluster.site import Site, seconds
from ensemble_mtl.config import registry
from ensemble_mtl.launch.base import make_shards
from ensemble_mtl.study.directory import Study

LAUNCHERS = ("array", "mpi", "ray")
"""An array of jobs of one node each, or one allocation in which MPI or Ray has the processes."""


class Request(NamedTuple):
    """What is asked for.

    Attributes:
        study: whose members.
        site: where.
        launcher: one of ``LAUNCHERS``.
        name: of the submission; its files in the study's ``jobs`` are called so.
        elements: of a job array; None for as many as keep every worker busy.
    """

    study: Study
    site: Site
    launcher: str
    name: str
    elements: int | None = None

    @property
    def scheduler(self) -> Any:
        """The scheduler's module."""
        return registry.load("cluster", self.site.scheduler.name)


def training(request: Request) -> Job:
    """The job that trains what is missing."""
    return {"array": _array, "mpi": _mpi, "ray": _ray}[request.launcher](request)


def gathering(request: Request) -> Job:
    """The job that gathers and reports when the other has ended."""
    site = request.site
    time = min(site.gather_time, site.time, key=seconds)
    command = (*_python(site), "-m", "ensemble_mtl", "report", *_study(request))
    # one GPU where there are any: their queues take no job without
    gpus = min(1, site.gpus_per_node)
    return Job(f"{request.name}.gather", _folder(request), site, 1, 1, gpus, time, command, resumable=False)


def default_elements(request: Request) -> int:
    """So many elements that each of their workers gets about one of the smallest shards."""
    members = request.study.members()
    launch = request.study.config.launch
    shards = make_shards(members, launch.members_per_shard, len(members), mixed=launch.mix_subsets)
    return min(request.site.max_array, -(-len(shards) // request.site.workers_per_node))


def _array(request: Request) -> Job:
    elements = request.elements or default_elements(request)
    workers = f"launch.launcher.workers={request.site.workers_per_node}"
    part = Shell(f'--part "{request.scheduler.INDEX}/{elements}"')
    # a site that says how a process gets to a node may run scripts elsewhere (Summit)
    start = _filled(request.site.per_node or (), request.site, nodes=1, tasks=1)
    command = (*start, *_python(request.site), *_run(request, "local"), "--set", workers, part)
    return _job(request, 1, 1, command, elements)


def _mpi(request: Request) -> Job:
    site = request.site
    start = _filled(site.mpi or request.scheduler.MPI, site, site.nodes, site.workers_per_node)
    # -m mpi4py: an exception in one rank ends all of them
    command = (*start, *_python(site), "-m", "mpi4py", *_run(request, "mpi"))
    return _job(request, site.nodes, site.workers_per_node, command)


def _ray(request: Request) -> Job:
    site = request.site
    start = _filled(site.per_node or request.scheduler.PER_NODE, site, site.nodes, 1)
    meeting = Shell(f'"$submission/ray-{request.scheduler.JOB}-$restarts"')
    nodes = ["--nodes", str(site.nodes), "--cpus", str(site.cpus_per_node), "--gpus", str(site.gpus_per_node)]
    if site.interface:
        nodes += ["--interface", site.interface]
    python = _python(site)
    command = [*start, *python, "-m", "ensemble_mtl.launch.ray.nodes", meeting, *nodes, "--"]
    command += [*python, *_run(request, "ray")]
    if site.gpus_per_node:
        command += ["--set", f"launch.launcher.gpus_per_shard={1 / site.workers_per_gpu:.4g}"]
    return _job(request, site.nodes, 1, command)


def _job(request: Request, nodes: int, tasks: int, command: Sequence[str], elements: int = 0) -> Job:
    site = request.site
    folder, gpus = _folder(request), site.gpus_per_node
    at_once = site.nodes if elements and "nodes" in site.model_fields_set else 0
    return Job(request.name, folder, site, nodes, tasks, gpus, site.time, tuple(command), elements, at_once)


def _folder(request: Request) -> Any:
    return request.study.root / "jobs" / request.name


def _python(site: Site) -> tuple[str, ...]:
    return (site.python or sys.executable,)


def _study(request: Request) -> tuple[str, ...]:
    # a copy of the configuration as it was: what happens to the user's file later changes no job
    return (str(_folder(request) / "study.yaml"), "--out", str(request.study.root))


def _run(request: Request, launcher: str) -> tuple[str, ...]:
    return ("-m", "ensemble_mtl", "run", *_study(request), "--launcher", launcher, "--no-report")


def _filled(words: Sequence[str], site: Site, nodes: int, tasks: int) -> list[str]:
    cpus = max(1, site.cpus_per_node // tasks)
    values = {"nodes": nodes, "tasks": nodes * tasks, "tasks_per_node": tasks, "cpus_per_task": cpus}
    values |= {"cpus_per_node": site.cpus_per_node, "gpus_per_node": site.gpus_per_node}
    return [word.format_map(values) for word in words]
