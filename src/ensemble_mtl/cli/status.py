"""``status``: how far a study is."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import click

from ensemble_mtl.cli.common import duration, json_option, next_step, note, print_json, study_arguments
from ensemble_mtl.study import claims
from ensemble_mtl.study.directory import STATES, State, Study, counts
from ensemble_mtl.study.member_files import last_metrics
from ensemble_mtl.study.plan import Member, group_name


@click.command()
@study_arguments()
@json_option
def command(study: Study, as_json: bool) -> None:
    """Show the members of CONFIG by state and subset, the jobs that were submitted, and the time left."""
    members, states = study.plan(), study.states()
    content: dict[str, Any] = {"study": study.config.name, "directory": str(study.root), **counts(states)}
    content["subsets"] = [
        {"subset": list(subset), "weighting": weighting, **counts({member.id: states[member.id] for member in group})}
        for (subset, weighting), group in itertools.groupby(
            members, key=lambda member: (member.subset, member.weighting)
        )
    ]
    content["checkpointed"] = sum(
        states[member.id] == "missing" and study.checkpoint(member).exists() for member in members
    )
    content["orphans"] = len(study.orphans())
    content["seconds_left_at_most"] = seconds_left(study, members, states)
    content["failures"] = [_failure(study, member) for member in members if states[member.id] == "failed"]
    content["jobs"] = _jobs(study)
    if as_json:
        print_json(content)
        return
    _print(content)


def _jobs(study: Study) -> list[dict[str, Any]]:
    """Return what the scheduler says of the jobs that were submitted; it is not asked if there are none."""
    from ensemble_mtl.cluster import submissions

    return submissions.table(study, submissions.load_all(study))


def seconds_left(study: Study, members: list[Member], states: dict[str, State]) -> float | None:
    """Return the seconds until the last member ends if none stops early; None where nothing can be said.

    The members in training have recorded how long an epoch takes; members to come are assumed to take as long.
    """
    running = [member for member in members if states[member.id] == "running"]
    readings = [(claims.holder(study.claim_file(member)), last_metrics(study, member)) for member in running]
    progress = [(holder, metrics) for holder, metrics in readings if holder and metrics]
    if not progress:
        return 0.0 if all(state == "done" for state in states.values()) else None
    epochs = study.config.train.epochs
    workers = {(holder.host, holder.pid): metrics for holder, metrics in progress}
    now = sum(metrics["seconds"] * (epochs - metrics["epoch"]) for metrics in workers.values())
    missing = sum(state == "missing" for state in states.values())
    per_member = sum(metrics["seconds"] * epochs for metrics in workers.values()) / len(progress)
    return round((now + missing * per_member) / len(workers), 1)


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a JSON file; nothing if it cannot be read."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content


def _failure(study: Study, member: Member) -> dict[str, Any]:
    name = {"id": member.id, "subset": list(member.subset), "weighting": member.weighting, "seed": member.seed}
    return {**name, **_read(study.failure(member))}


def _print(content: dict[str, Any]) -> None:
    print(f"{content['study']} in {content['directory']}")
    rows = [(group_name(row["subset"], row["weighting"]), row) for row in content["subsets"]]
    width = max(12, *(len(name) for name, _ in rows))
    print(f"{'subset':<{width}}" + "".join(f"{state:>9}" for state in STATES))
    for name, row in [*rows, ("total", content)]:
        print(f"{name:<{width}}" + "".join(f"{row[state]:>9}" for state in STATES))
    if content["checkpointed"]:
        print(f"{content['checkpointed']} of the missing continue from a checkpoint")
    for failure in content["failures"]:
        name = group_name(failure["subset"], failure["weighting"])
        print(f"failed: {name} seed {failure['seed']} ({failure['id']}): {failure.get('error')}")
    if content["orphans"]:
        print(f"{content['orphans']} result(s) in the directory belong to another configuration (or to other --set)")
    if content["seconds_left_at_most"]:
        print(f"at most {duration(content['seconds_left_at_most'])} left")
    _print_jobs(content["jobs"])
    if any(row["live"] for row in content["jobs"]):
        return  # the jobs do what is left
    if content["done"] == content["total"]:
        note(f"next: {next_step('report')}")
    elif not content["running"] and not content["orphans"]:
        note(f"next: {next_step('run')} trains what is missing")


def _print_jobs(rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    width = max(12, *(len(row["name"]) + 1 for row in rows))
    print(f"\n{'submission':<{width}}{'job':<12}{'what':<8}{'restarts':>8}  state")
    for row in rows:
        restarts = "-" if row["restarts"] is None else row["restarts"]
        reason = f" ({row['reason']})" if row["reason"] else ""
        print(f"{row['name']:<{width}}{row['id']:<12}{row['what']:<8}{restarts:>8}  {row['state']}{reason}")
