"""What was submitted for a study, and what the schedulers say of it.

Each submission has a folder of its own in the study's folder ``jobs``, with its record in it. So two submissions at the
same time cannot overwrite each other's records.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ensemble_mtl.cluster.base import FAMILY, SilentSchedulerError, State
from ensemble_mtl.cluster.jobs import Request, gathering, training
from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.study.directory import Study

RECORD = "submitted.json"


@dataclass(frozen=True)
class Submission:
    """A job that trains, and the one that gathers after it.

    Attributes:
        name: name of the submission's folder and, with endings, of its scripts.
        scheduler: name of the scheduler to which it was submitted.
        launcher: array, mpi or ray.
        site: name of the site.
        time: when it was submitted, in seconds (Unix time).
        job: id of the job that trains.
        gather: id of the job that gathers; None if that was not submitted.
    """

    name: str
    scheduler: str
    launcher: str
    site: str
    time: float
    job: str
    gather: str | None = None


def load_all(study: Study) -> list[Submission]:
    """Return all submissions of the study in the order of their time, from their records; no scheduler is asked.

    Raises:
        StudyError: a record is damaged or cannot be read.
    """
    submissions = []
    for path in study.root.glob(f"jobs/*/{RECORD}"):
        try:
            submissions.append(Submission(**json.loads(path.read_text())))
        except (OSError, ValueError, TypeError) as error:
            raise StudyError(
                f"{path}: this is not a record of a submission ({error}); remove it if the job has ended"
            ) from None
    return sorted(submissions, key=lambda submission: submission.time)


def next_name(study: Study, launcher: str) -> str:
    """Return a name that no submission of the study has yet."""
    number = 1
    while (study.root / "jobs" / f"{study.config.name}-{launcher}-{number}").exists():
        number += 1
    return f"{study.config.name}-{launcher}-{number}"


def scripts(request: Request) -> dict[str, str]:
    """Return the scripts of both jobs, by the names of their files; the one that trains comes first."""
    render = request.scheduler.render
    return {f"{request.name}.sh": render(training(request)), f"{request.name}.gather.sh": render(gathering(request))}


def submit(request: Request) -> Submission:
    """Write the scripts and submit both jobs.

    Raises:
        StudyError: the scheduler refuses one of the jobs, or does not answer, so that it may have taken it. If the
            first one is refused, or cannot be written, its files are removed again.
    """
    request, folder = _with_own_folder(request)
    jobs = folder.parent
    paths: list[Path] = []
    try:
        texts = scripts(request)
        paths += [jobs / name for name in texts]
        resolved = yaml.safe_dump(request.study.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        atomic.write_text(folder / "study.yaml", f"# The configuration as it was submitted.\n{resolved}")
        for path, text in zip(paths, texts.values(), strict=True):
            atomic.write_text(path, text)
        job = request.scheduler.submit(paths[0])
    except SilentSchedulerError as error:
        raise StudyError(
            f"{error}, and look whether it has taken {paths[0]}; the file is left there in case it has"
        ) from None
    except BaseException:
        for path in (*paths, folder / "study.yaml"):
            path.unlink(missing_ok=True)
        folder.rmdir()
        raise
    scheduler, now = request.site.scheduler.name, round(time.time(), 3)
    submission = Submission(request.name, scheduler, request.launcher, request.site.name, now, job)
    # recorded at once, so that the job is known even if the next one is refused
    atomic.write_json(folder / RECORD, asdict(submission))
    try:
        submission = replace(submission, gather=request.scheduler.submit(paths[1], job))
    except SilentSchedulerError as error:
        raise StudyError(
            f"job {job} is submitted; of the one that gathers, {error}, and look whether it has taken {paths[1]}; "
            f"if it has not, {_report_later(request, job)}"
        ) from None
    except StudyError as error:
        raise StudyError(
            f"job {job} is submitted, but not the one that gathers, since {error}; {_report_later(request, job)}"
        ) from None
    atomic.write_json(folder / RECORD, asdict(submission))
    return submission


def _report_later(request: Request, job: str) -> str:
    """Return what a person can do instead of the job that gathers."""
    config, out = request.study.root / "jobs" / request.name / "study.yaml", request.study.root
    command = shlex.join(["ensemble-mtl", "report", str(config), "--out", str(out)])
    return f"when job {job} has ended, run `{command}`"


def _with_own_folder(request: Request) -> tuple[Request, Path]:
    """Make the folder of the submission, and return the request under the folder's name, and the folder.

    To make a folder fails if it is there. So of several submissions at the same time each gets a name of its own.
    """
    while True:
        folder = request.study.root / "jobs" / request.name
        try:
            folder.mkdir(parents=True)
            return request, folder
        except FileExistsError:  # another submission, just now
            request = request._replace(name=next_name(request.study, request.launcher))


def states(submissions: Iterable[Submission]) -> tuple[dict[str, list[State]], dict[str, str]]:
    """Ask the schedulers for the states of all jobs of the submissions.

    Returns:
        Id of each job -> its states, several for a job array; and name of each scheduler that cannot be asked -> why.
    """
    ids_by_scheduler: dict[str, list[str]] = {}
    for submission in submissions:
        jobs = filter(None, (submission.job, submission.gather))
        ids_by_scheduler.setdefault(submission.scheduler, []).extend(jobs)
    states_by_job: dict[str, list[State]] = {}
    unreachable: dict[str, str] = {}
    for name, ids in ids_by_scheduler.items():
        try:
            told = FAMILY.load(name).states(ids)
        except (StudyError, ValueError) as error:
            unreachable[name] = str(error)
            continue
        for state in told:
            states_by_job.setdefault(state.id.partition("_")[0], []).append(state)
    return states_by_job, unreachable


def restarts(study: Study, submission: Submission) -> int:
    """Return how often the submission's job was requeued, where the scripts count this themselves."""
    counts = (study.root / "jobs" / submission.name).glob("restarts-*")
    return sum(int(path.read_text().strip() or 0) for path in counts)


def cancel(study: Study, submission: Submission, ids: Iterable[str]) -> None:
    """End jobs of a submission, and keep them from being requeued.

    Args:
        study: the study.
        submission: the submission.
        ids: ids of its jobs that are to be ended.

    Raises:
        StudyError: some jobs could not be cancelled; all others are.
    """
    # written before the signal is sent, since the script looks for this file when its command has ended
    atomic.write_text(study.root / "jobs" / submission.name / "cancelled", "by `ensemble-mtl cancel`\n")
    FAMILY.load(submission.scheduler).cancel(list(ids))


def table(study: Study, submissions: Iterable[Submission]) -> list[dict[str, Any]]:
    """Return one row per job of the submissions, as JSON values.

    The keys are ``id``, ``name`` (of the submission), ``what`` (the launcher, or ``gather``), ``scheduler``, ``time``
    (of the submission), ``state``, ``live`` (whether the job waits or runs; None if its scheduler cannot be asked),
    ``reason`` and ``restarts``.
    """
    submissions = list(submissions)
    states_by_job, unreachable = states(submissions) if submissions else ({}, {})
    rows = []
    for submission in submissions:
        scheduler = submission.scheduler
        for job, what in ((submission.job, submission.launcher), (submission.gather, "gather")):
            if job is None:
                continue
            row = {"id": job, "name": submission.name, "what": what, "scheduler": scheduler, "time": submission.time}
            if scheduler in unreachable:
                row |= {"state": "unknown", "live": None, "reason": unreachable[scheduler], "restarts": None}
            else:
                row |= _joined(states_by_job.get(job, []))
            if what != "gather" and row["restarts"] is None:
                row["restarts"] = restarts(study, submission) if scheduler not in unreachable else None
            rows.append(row)
    return rows


def _joined(elements: list[State]) -> dict[str, Any]:
    """Return the states of all elements of a job as one: which states there are, and how many elements are in each."""
    counts: dict[str, int] = {}
    for element in elements:
        counts[element.state] = counts.get(element.state, 0) + 1
    text = ", ".join(name if len(elements) == 1 else f"{count} {name}" for name, count in counts.items())
    reasons = list(dict.fromkeys(element.reason for element in elements if element.reason))
    restart_counts = [element.restarts for element in elements if element.restarts is not None]
    return {
        "state": text or "GONE",
        "live": any(element.live for element in elements),
        "reason": "; ".join(reasons),
        "restarts": sum(restart_counts) if restart_counts else None,
    }
