"""Simulate a study on a cluster: makespan, efficiency and lost work of each launcher.

Shards are made, ordered and handed out as by the launchers. Nodes fail at random, and a failure
loses what was trained since the last checkpoint. hpc/simulation/modes.py says what each launcher
is assumed to do. Times of members come from --study, --times or --lognormal.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from simulation import times
from simulation.cluster import Cluster, Launcher
from simulation.modes import MODES, EndlessError, Simulation

HOUR = 3600.0

LAUNCHERS = {
    "local": Launcher(start=2.5, hand_out=0.0001, latency=0.0005),
    "mpi": Launcher(start=5.0, hand_out=0.0001, latency=0.01),
    "ray": Launcher(start=12.0, hand_out=0.001, latency=0.004),
    "array": Launcher(start=2.5, hand_out=0.0001, latency=0.0005),
}
"""Costs of each launcher: about those that docs/benchmarks/scheduling.md measured; the time of the lead per shard is an
estimate. Vary them by --costs."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, and return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        cluster, groups = _cluster(options), _groups(options)
        launchers = {name: _launcher(name, options) for name in MODES if options.launcher in ("all", name)}
    except (ValueError, times.TimesError) as error:
        parser.error(str(error))
    rows = {name: simulate(name, cluster, launcher, groups, options) for name, launcher in launchers.items()}
    if options.json:
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(options).items()}
        print(json.dumps({"settings": settings, "launchers": rows}, indent=1))
    else:
        print(_table(rows, options))
    return 0


def simulate(
    name: str, cluster: Cluster, launcher: Launcher, groups: list[times.Group], options: argparse.Namespace
) -> dict[str, Any]:
    """Simulate one launcher.

    Args:
        name: name of the launcher.
        cluster: the machine.
        launcher: what the launcher costs.
        groups: how long members take, by subset.
        options: the command line's.

    Returns:
        quantity -> ``mean`` and ``sem``, its standard error over the repeats; or ``endless`` -> why the study does not
        end.
    """
    courses: list[dict[str, float]] = []
    members = times.plan(groups, options.members)
    for repeat in range(options.repeats):
        # the members of a repeat take the same time under every launcher
        seconds = options.scale * times.seconds(groups, options.members, np.random.default_rng([options.seed, repeat]))
        rng = np.random.default_rng([options.seed, repeat, list(MODES).index(name)])
        simulation = Simulation(cluster, launcher, members, seconds, rng)
        try:
            makespan = MODES[name](simulation)
        except EndlessError as error:
            return {"endless": str(error)}
        spent = simulation.spent
        courses.append(
            {
                "makespan_hours": makespan / HOUR,
                "efficiency": spent.efficiency,
                "lost_gpu_hours": spent.lost / HOUR,
                "overhead_gpu_hours": spent.overhead / HOUR,
                "idle_gpu_hours": spent.idle / HOUR,
                "useful_gpu_hours": spent.useful / HOUR,
                "allocated_gpu_hours": spent.allocated / HOUR,
                "failures": spent.failures,
                "jobs": spent.jobs,
            }
        )
    return {key: _mean([course[key] for course in courses]) for key in courses[0]}


def _mean(values: list[float]) -> dict[str, float | None]:
    sem = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sem": sem}


def _cluster(options: argparse.Namespace) -> Cluster:
    cluster = Cluster(
        gpus=options.gpus,
        gpus_per_node=options.gpus_per_node,
        mtbf=options.mtbf_hours * HOUR,
        repair=options.repair_minutes * 60,
        queue_wait=options.queue_minutes * 60,
        time_limit=options.limit_hours * HOUR,
        checkpoint_every=options.checkpoint_seconds,
        checkpoint_cost=options.checkpoint_cost,
        shard_start=options.shard_start,
        epochs=options.epochs,
        members_per_shard=options.members_per_shard,
    )
    for field in dataclasses.fields(cluster):
        value = getattr(cluster, field.name)
        is_count = field.type == "int"
        if not (value > 0 or (value == 0 and not is_count and field.name not in ("mtbf", "time_limit"))):
            raise ValueError(f"{field.name.replace('_', ' ')}: got {value}, expected a positive number")
    return cluster


def _groups(options: argparse.Namespace) -> list[times.Group]:
    if options.members < 1 or options.repeats < 1:
        raise ValueError("--members and --repeats: expected 1 or more")
    if not 0 < options.scale < math.inf:
        raise ValueError(f"--scale: got {options.scale}, expected a positive number")
    if options.study:
        return times.of_study(options.study)
    if options.times:
        return [_subset(text) for text in options.times]
    mean, std = _numbers("--lognormal", options.lognormal, 2)
    return [times.lognormal(("task",), mean, std)]


def _subset(text: str) -> times.Group:
    """Return the group of a text ``SUBSET=MEAN,STD``."""
    name, _, numbers = text.partition("=")
    mean, std = _numbers(f"--times {text}", numbers, 2)
    subset = tuple(name.split("+")) if "+" in name else tuple(name)
    return times.lognormal(subset, mean, std)


def _launcher(name: str, options: argparse.Namespace) -> Launcher:
    for text in options.costs:
        key, _, numbers = text.partition("=")
        if key not in LAUNCHERS:
            raise ValueError(f"--costs {text}: got launcher {key!r}, expected one of {', '.join(LAUNCHERS)}")
        if key == name:
            return Launcher(*_numbers(f"--costs {text}", numbers, 3, may_begin_with_zero=True))
    return LAUNCHERS[name]


def _numbers(option: str, text: str, count: int, *, may_begin_with_zero: bool = False) -> list[float]:
    """Return the numbers in ``text``, of which none is negative.

    Raises:
        ValueError: they are not ``count`` such numbers; the message names the option.
    """
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(math.isfinite(number) for number in numbers):
        raise ValueError(f"{option}: got {text!r}, expected {count} numbers with commas between them")
    if min(numbers) < 0 or (numbers[0] == 0 and not may_begin_with_zero):
        raise ValueError(f"{option}: got {text!r}, expected positive times")
    return numbers


def _table(rows: dict[str, dict[str, Any]], options: argparse.Namespace) -> str:
    columns = {
        "makespan [h]": "makespan_hours",
        "efficiency": "efficiency",
        "lost [GPU h]": "lost_gpu_hours",
        "overhead [GPU h]": "overhead_gpu_hours",
        "idle [GPU h]": "idle_gpu_hours",
        "failures": "failures",
        "jobs": "jobs",
    }
    lines = [
        f"{options.members:,} members on {options.gpus:,} GPUs; mean ± standard error of {options.repeats} courses",
        "launcher  " + "".join(f"{title:>20}" for title in columns),
    ]
    for name, row in rows.items():
        cells = [row["endless"]] if "endless" in row else [_cell(row[key]) for key in columns.values()]
        lines.append(f"{name:<10}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def _cell(quantity: dict[str, float | None]) -> str:
    mean, sem = quantity["mean"], quantity["sem"]
    return f"{mean:,.4g}" + ("" if sem is None else f" ± {sem:,.2g}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="simulate.py", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--members", type=int, default=84, help="members of the study")
    add("--gpus", type=int, default=8, help="GPUs, one worker each")
    add("--gpus-per-node", type=int, default=4, help="GPUs that fail together")
    add("--launcher", choices=["all", *MODES], default="all")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--study", type=Path, help="draw times from the members of this study directory")
    source.add_argument(
        "--times", nargs="+", metavar="SUBSET=MEAN,STD", help="seconds per subset: HC=40,6 or gap+U=9,1"
    )
    source.add_argument("--lognormal", default="600,200", metavar="MEAN,STD", help="seconds of every member")
    add("--scale", type=float, default=1.0, help="factor on all times, such as the speed-up of another GPU")
    add("--mtbf-hours", type=float, default=math.inf, help="mean time between failures of one node")
    add("--repair-minutes", type=float, default=10.0, help="until a failed node is back")
    add("--queue-minutes", type=float, default=0.0, help="mean wait of a job in the queue")
    add("--limit-hours", type=float, default=math.inf, help="time limit of a job")
    add("--checkpoint-seconds", type=float, default=60.0, help="train.checkpoint_seconds")
    add("--checkpoint-cost", type=float, default=0.05, help="seconds that a checkpoint of a shard takes")
    add("--shard-start", type=float, default=0.5, help="seconds to load data and model for a shard")
    add("--epochs", type=int, default=200, help="train.epochs")
    add("--members-per-shard", type=int, default=12, help="launch.members_per_shard")
    add("--costs", nargs="+", default=[], metavar="LAUNCHER=START,HAND_OUT,LATENCY", help="seconds")
    add("--repeats", type=int, default=5, help="random courses")
    add("--seed", type=int, default=0)
    add("--json", action="store_true", help="JSON instead of a table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
