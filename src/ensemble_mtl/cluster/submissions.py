"""What was submitted for a study, and what the schedulers say of it.

Each submission has a folder in the study's ``jobs``, with its own record: two that happen
at once cannot lose each other's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ensemble_mtl.cluster.base import SilentSchedulerError, State
from ensemble_mtl.cluster.jobs import Request, gathering, training
from ensemble_mtl.config import registry
from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.study.directory import Study

RECORD = "submitted.json"


@dataclass(frozen=True)
class Submission:
    """A job and the one that gathers after it.

    Attributes:
        name: of its folder and, with endings, of its scripts.
        scheduler: who has it.
        launcher: array, mpi or ray.
        site: the site's name.
        time: when it was submitted (Unix time).
        job: id of the job that trains.
        gather: id of the one that gathers; None if it was not submitted.
    """

    name: str
    scheduler: str
    launcher: str
    site: str
    time: float
    job: str
    gather: str | None = None


def load_all(study: Study) -> list[Submission]:
    """In the order of their time; without any subprocess."""
    found = []
    for path in study.root.glob(f"jobs/*/{RECORD}"):
        try:
            found.append(Submission(**json.loads(path.read_text())))
        except (OSError, ValueError, TypeError) as error:
            raise StudyError(f"{path}: not a record of a submission ({error}); remove it if the job is over") from None
    return sorted(found, key=lambda submission: submission.time)


def next_name(study: Study, launcher: str) -> str:
    """A name that no submission of the study has."""
    number = 1
    while (study.root / "jobs" / f"{study.config.name}-{launcher}-{number}").exists():
        number += 1
    return f"{study.config.name}-{launcher}-{number}"


def scripts(request: Request) -> dict[str, str]:
    """Both scripts by the names of their files."""
    render = request.scheduler.render
    return {f"{request.name}.sh": render(training(request)), f"{request.name}.gather.sh": render(gathering(request))}


def submit(request: Request) -> Submission:
    """Write the scripts and hand them over.

    Raises:
        StudyError: the scheduler takes one of them not; if it is the first, nothing is left.
    """
    request, folder = _named(request)
    jobs = folder.parent
    paths = [jobs / name for name in scripts(request)]
    try:
        resolved = yaml.safe_dump(request.study.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        atomic.write_text(folder / "study.yaml", f"# The configuration as it was submitted.\n{resolved}")
        for path, text in zip(paths, scripts(request).values(), strict=True):
            atomic.write_text(path, text)
        job = request.scheduler.submit(paths[0])
    except SilentSchedulerError as error:
        raise StudyError(f"{error}; look whether it has taken {paths[0]}, which is left for it") from None
    except BaseException:
        for path in (*paths, folder / "study.yaml"):
            path.unlink(missing_ok=True)
        folder.rmdir()
        raise
    name = request.site.scheduler.name
    submission = Submission(request.name, name, request.launcher, request.site.name, round(time.time(), 3), job)
    atomic.write_json(folder / RECORD, asdict(submission))
    try:
        submission = replace(submission, gather=request.scheduler.submit(paths[1], job))
    except StudyError as error:
        text = "is submitted, but not the one that gathers; when it has ended, run `ensemble-mtl report`"
        raise StudyError(f"job {job} {text}: {error}") from None
    atomic.write_json(folder / RECORD, asdict(submission))
    return submission


def _named(request: Request) -> tuple[Request, Path]:
    """The request under a name that is its own, and the folder that makes it so."""
    while True:
        folder = request.study.root / "jobs" / request.name
        try:
            folder.mkdir(parents=True)
            return request, folder
        except FileExistsError:  # another submission, just now
            request = request._replace(name=next_name(request.study, request.launcher))


def states(submissions: Iterable[Submission]) -> tuple[dict[str, list[State]], dict[str, str]]:
    """Of each job and of each that gathers, by id; and for each scheduler that cannot be asked, why."""
    by_scheduler: dict[str, list[str]] = {}
    for one in submissions:
        by_scheduler.setdefault(one.scheduler, []).extend(filter(None, (one.job, one.gather)))
    found: dict[str, list[State]] = {}
    silent: dict[str, str] = {}
    for name, ids in by_scheduler.items():
        try:
            told = registry.load("cluster", name).states(ids)
        except (StudyError, ValueError) as error:
            silent[name] = str(error)
            continue
        for state in told:
            found.setdefault(state.id.partition("_")[0], []).append(state)
    return found, silent


def restarts(study: Study, submission: Submission) -> int:
    """How often its job was requeued, where the scripts count themselves."""
    counts = (study.root / "jobs" / submission.name).glob("restarts-*")
    return sum(int(path.read_text().strip() or 0) for path in counts)


def cancel(study: Study, submission: Submission, ids: Iterable[str]) -> None:
    """End these of its jobs, and keep them from being requeued."""
    # before the signal, since the script looks for it when its command has ended
    atomic.write_text(study.root / "jobs" / submission.name / "cancelled", "by `ensemble-mtl cancel`\n")
    registry.load("cluster", submission.scheduler).cancel(list(ids))


def table(study: Study, submissions: Iterable[Submission]) -> list[dict[str, Any]]:
    """One row per job: id, what, state, reason, restarts."""
    submissions = list(submissions)
    found, silent = states(submissions) if submissions else ({}, {})
    rows = []
    for one in submissions:
        for job, what in ((one.job, one.launcher), (one.gather, "gather")):
            if job is None:
                continue
            row = {"id": job, "name": one.name, "what": what, "scheduler": one.scheduler, "time": one.time}
            if one.scheduler in silent:
                row |= {"state": "unknown", "live": None, "reason": silent[one.scheduler], "restarts": None}
            else:
                row |= _summary(found.get(job, []))
            if what != "gather" and row["restarts"] is None:
                row["restarts"] = restarts(study, one) if one.scheduler not in silent else None
            rows.append(row)
    return rows


def _summary(elements: list[State]) -> dict[str, Any]:
    """Of all elements: their states and how many are in each."""
    counted: dict[str, int] = {}
    for element in elements:
        counted[element.state] = counted.get(element.state, 0) + 1
    text = ", ".join(name if len(elements) == 1 else f"{count} {name}" for name, count in counted.items())
    reasons = list(dict.fromkeys(element.reason for element in elements if element.reason))
    known = [element.restarts for element in elements if element.restarts is not None]
    return {
        "state": text or "GONE",
        "live": any(element.live for element in elements),
        "reason": "; ".join(reasons),
        "restarts": sum(known) if known else None,
    }
