"""``plan``: the members of a study, their sizes, and the time that they need."""

from __future__ import annotations

import itertools
import json
from typing import Any

import click

from ensemble_mtl.cli.common import duration, json_option, next_step, note, print_json, study_arguments
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.core.runtime.this_process import prepare_process
from ensemble_mtl.models.spec import input_widths, of_subset
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member, Subset, fingerprint, group_name


@click.command()
@study_arguments()
@click.option("--measure", is_flag=True, help="Build the data, time a few steps, and estimate the whole.")
@json_option
def command(study: Study, measure: bool, as_json: bool) -> None:
    """List the members of CONFIG: the same bytes every time, and an estimate of the time once it is measured."""
    if measure:
        prepare_process()
        from ensemble_mtl.cli.progress import build_progress
        from ensemble_mtl.launch.base import FAMILY
        from ensemble_mtl.study.claims import exclusive
        from ensemble_mtl.worker.timing import measure as measure_time

        options = study.config.launch.launcher
        with exclusive(study.preparation, "preparing this study"), build_progress() as progress:
            measure_time(study, progress, lambda: FAMILY.of(options).num_workers(study, options))
    content = describe(study)
    if as_json:
        print_json(content)
        return
    _print(content)
    if content["estimate"] is None:
        note(f"next: add --measure for an estimate of the time, or {next_step('run')}")


def describe(study: Study) -> dict[str, Any]:
    """Return the plan as JSON values; ``parameters`` is None where the data decide on the width of the inputs."""
    members = study.plan()
    sizes = {member.subset: _num_parameters(study.config, member.subset) for member in members}
    return {
        "study": study.config.name,
        "members": [{**member.to_json(), "parameters": sizes[member.subset]} for member in members],
        "estimate": estimate(study, members),
    }


def _num_parameters(config: StudyConfig, subset: Subset) -> int | None:
    return None if input_widths(config) is None else of_subset(config, subset).num_parameters()["total"]


def estimate(study: Study, members: list[Member]) -> dict[str, Any] | None:
    """Return the time to train and probe if no member stops early; None if it was not measured for this configuration.

    Raises:
        StudyError: the measurement cannot be read.
    """
    try:
        timing = json.loads(study.timing.read_text())
        if timing["config"] != fingerprint(study.config):
            return None
        per_member = {name: float(seconds) for name, seconds in timing["member_seconds"].items()}
        total = sum(per_member[member.group] for member in members)
        return {
            "device": timing["device"],
            "worker_seconds": float(f"{total:.3g}"),
            "workers": timing["workers"],
            "seconds_about": float(f"{total / timing['workers']:.3g}"),
        }
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"{study.timing}: not a readable measurement ({error}); remove it, or measure again") from None


def _group(member: dict[str, Any]) -> str:
    return group_name(member["subset"], member["weighting"])


def _print(content: dict[str, Any]) -> None:
    print(f"{content['study']}: {len(content['members'])} members")
    groups = list(dict.fromkeys(_group(member) for member in content["members"]))
    width = max(12, *map(len, groups))
    print(f"{'subset':<{width}} {'seeds':>5} {'splits':>6} {'fractions':>9} {'parameters':>10}  first id")
    for name, group in itertools.groupby(content["members"], key=_group):
        members = list(group)
        counts = [len({member[key] for member in members}) for key in ("seed", "split", "fraction")]
        numbers = f"{counts[0]:>5} {counts[1]:>6} {counts[2]:>9} {members[0]['parameters'] or '?':>10}"
        print(f"{name:<{width}} {numbers}  {members[0]['id']}")
    if time := content["estimate"]:
        where = f"{time['workers']} worker(s) ({time['device']})"
        print(f"about {duration(time['seconds_about'])} if no member stops early, on {where}")
