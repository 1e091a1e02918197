"""``submit``: run a study as a job of a batch system, with a second job that gathers after it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ensemble_mtl.cli.common import json_option, next_step, note, print_json, study_arguments
from ensemble_mtl.study.directory import Study

LAUNCHER_HELP = "A job array, or one allocation in which MPI or Ray has the processes."


@click.command()
@study_arguments()
@click.option("--scheduler", metavar="NAME", help="slurm or lsf; a site names its own.")
@click.option("--launcher", type=click.Choice(["array", "mpi", "ray"]), default="array", help=LAUNCHER_HELP)
@click.option("--site", "site_file", type=click.Path(path_type=Path), help="Profile of the machine, see hpc/sites/.")
@click.option("--nodes", type=int, help="Nodes of the allocation; of an array, most elements at a time.")
@click.option("--time", metavar="HH:MM:SS", help="Time limit of a job; what is not done then is requeued.")
@click.option("--account", help="Account, or project.")
@click.option("--partition", "--queue", "queue", help="Partition, or queue.")
@click.option("--array-size", type=click.IntRange(min=1), help="Elements of the array [default: by the members].")
@click.option("--dry-run", is_flag=True, help="Print the scripts; write and submit nothing.")
@json_option
def command(
    study: Study,
    scheduler: str | None,
    launcher: str,
    site_file: Path | None,
    array_size: int | None,
    dry_run: bool,
    as_json: bool,
    **site_options: Any,
) -> None:
    """Submit what is missing of CONFIG, and a job that gathers and reports after it; returns at once."""
    from ensemble_mtl.cluster import submissions
    from ensemble_mtl.cluster.jobs import Request

    site = _site(site_file, scheduler, site_options)
    _check_array(launcher, array_size, site.max_array)
    request = Request(study, site, launcher, submissions.next_name(study, launcher), array_size)
    if dry_run:
        _show(submissions.scripts(request), as_json)
        return
    if set(study.states().values()) == {"done"}:
        note(f"{study.root}: every member is done, nothing is submitted; next: {next_step('report')}")
        return
    _note_live_jobs(study)
    submission = submissions.submit(request)
    if as_json:
        print_json(
            {
                **asdict(submission),
                "directory": str(study.root),
                "script": str(study.root / f"jobs/{submission.name}.sh"),
            }
        )
        return
    print(
        f"submitted job {submission.job}, and job {submission.gather} that gathers after it; "
        f"scripts in {study.root / 'jobs'}"
    )
    note(f"next: {next_step('status')}; {next_step('cancel')} ends them, and the same submit continues")


def _site(path: Path | None, scheduler: str | None, values: dict[str, Any]) -> Any:
    """Return the profile of the machine, with options of the command line in the place of its values."""
    from ensemble_mtl.cluster import site

    if not path and not scheduler:
        raise click.UsageError("say where: --site FILE (see hpc/sites/), or --scheduler slurm or lsf")
    options = {"nodes": "--nodes", "time": "--time", "account": "--account", "queue": "--partition"}
    return site.load(
        path, {key: (options[key], value) for key, value in values.items() if value is not None}, scheduler
    )


def _check_array(launcher: str, size: int | None, largest: int) -> None:
    if size and launcher != "array":
        raise click.UsageError(f"--array-size goes with --launcher array, not with {launcher}")
    if size and size > largest:
        raise click.UsageError(f"--array-size {size}: the site takes at most {largest} (max_array)")


def _show(scripts: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json(scripts)
        return
    for name, text in scripts.items():
        print(f"##### {name}\n{text}")


def _note_live_jobs(study: Study) -> None:
    """Say which jobs of the study wait or run already."""
    from ensemble_mtl.cluster import submissions

    rows = submissions.table(study, submissions.load_all(study))
    live = [row["id"] for row in rows if row["live"] and row["what"] != "gather"]
    if live:
        note(f"job {', '.join(live)} of this study waits or runs already; no member is trained twice")
