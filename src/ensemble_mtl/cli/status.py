"""``status``: how far is it?"""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import click

from ensemble_mtl import heartbeat
from ensemble_mtl.cli.common import duration, json_option, note, print_json, study_arguments
from ensemble_mtl.plan import Member, label
from ensemble_mtl.study import STATES, State, Study, counts


@click.command()
@study_arguments
@json_option
def command(study: Study, as_json: bool) -> None:
    """Show the members of CONFIG by state and subset, and the time left while a run goes on."""
    members, states = study.members(), study.states()
    found: dict[str, Any] = {"study": study.config.name, "directory": str(study.root), **counts(states)}
    found["subsets"] = [
        {"subset": list(subset), **counts({member.id: states[member.id] for member in group})}
        for subset, group in itertools.groupby(members, key=lambda member: member.subset)
    ]
    found["orphans"] = len(study.orphans())
    found["seconds_left_at_most"] = seconds_left(study, members, states)
    found["failures"] = [_failure(study, member) for member in members if states[member.id] == "failed"]
    if as_json:
        print_json(found)
        return
    _print(found)


def seconds_left(study: Study, members: list[Member], states: dict[str, State]) -> float | None:
    """Time until the last member ends if none stops early; None where nothing can be said.

    Members now in training tell how long an epoch takes them; those to come are taken to
    need as much per member.
    """
    running = [member for member in members if states[member.id] == "running"]
    told = [heartbeat.read(study.heartbeat(member)) for member in running]
    beats = [beat for beat in told if beat and "epoch_seconds" in beat]
    if not beats:
        return 0.0 if all(state == "done" for state in states.values()) else None
    workers = {(beat["host"], beat["pid"]): beat for beat in beats}
    now = sum(beat["epoch_seconds"] * (beat["epochs"] - beat["epoch"]) for beat in workers.values())
    missing = sum(state == "missing" for state in states.values())
    per_member = sum(beat["epoch_seconds"] * beat["epochs"] for beat in workers.values()) / len(beats)
    silent = max(0.0, time.time() - max(beat["time"] for beat in beats))
    return round(max((now + missing * per_member) / len(workers) - silent, 0.0), 1)


def _read(path: Any) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return told


def _failure(study: Study, member: Member) -> dict[str, Any]:
    return {"id": member.id, "subset": list(member.subset), "seed": member.seed, **_read(study.failure(member))}


def _print(found: dict[str, Any]) -> None:
    print(f"{found['study']} in {found['directory']}")
    print(f"{'subset':<12}" + "".join(f"{state:>9}" for state in STATES))
    for row in [*found["subsets"], {"subset": ["total"], **found}]:
        name = "total" if row["subset"] == ["total"] else label(row["subset"])
        print(f"{name:<12}" + "".join(f"{row[state]:>9}" for state in STATES))
    for failure in found["failures"]:
        print(f"failed: {label(failure['subset'])} seed {failure['seed']} ({failure['id']}): {failure.get('error')}")
    if found["orphans"]:
        print(f"{found['orphans']} result(s) in the directory belong to another configuration (or to other --set)")
    if found["seconds_left_at_most"]:
        print(f"at most {duration(found['seconds_left_at_most'])} left")
    if found["done"] == found["total"]:
        note("next: `ensemble-mtl report CONFIG`")
    elif not found["running"] and not found["orphans"]:
        note("next: `ensemble-mtl run CONFIG` trains what is missing")
