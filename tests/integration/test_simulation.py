"""``hpc/simulate.py`` against real runs of the local launcher, with the times that those measured."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.studies import command, results, trainer, wait_until
from simulation.cluster import Cluster, Launcher, Spent
from simulation.modes import MODES, Simulation
from simulation.times import member_seconds
from simulation.work import Attempt, Work

from ensemble_mtl.config import file as config_file
from ensemble_mtl.launch.base import Shard
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member

CONFIG: dict[str, Any] = {
    "name": "slow",
    "data": {"name": "alloy", "num_configurations": 60, "seed": 3},
    "graph": {"radius": 6.0, "radius_unit": "bohr"},
    "tasks": {"H": {"target": "mixing_enthalpy"}, "M": {"target": "magnetic_moment"}},
    "model": {"trunk": {"conv": "pna", "layers": 2, "width": 4}, "heads": [4]},
    "probes": None,
}
TRAIN = {"batch_size": 16, "device": "cpu", "early_stopping": None}


def study(folder: Path, seeds: int, workers: int, **train: object) -> Study:
    launch = {"launcher": {"name": "local", "workers": workers}}
    path = folder / "slow.yaml"
    path.write_text(yaml.safe_dump(CONFIG | {"seeds": seeds, "train": TRAIN | train, "launch": launch}))
    (folder / "spans").mkdir()
    return Study.at(config_file.load(path), path, None)


def environment(folder: Path, epoch_seconds: float) -> dict[str, str]:
    """Epochs that last ``epoch_seconds`` per member and task, whatever else the machine does."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2] / "benchmarks/slow_training"),
        "SLOW_EPOCH_SECONDS": str(epoch_seconds),
        "SLOW_SPANS": str(folder / "spans"),
    }


def spans(folder: Path, what: str) -> list[tuple[float, float]]:
    """Start and end of each shard or epoch, by start."""
    lines = [json.loads(line) for path in (folder / "spans").iterdir() for line in path.read_text().splitlines()]
    return sorted((line["start"], line["end"]) for line in lines if line["what"] == what)


def checkpoints(root: Path) -> list[float]:
    """When each was written; two, or never."""
    found = [path.stat().st_mtime for path in root.glob("members/*/*/checkpoint.pt")]
    return found if len(found) == 2 else [0.0]


def handing_out(folder: Path) -> list[float]:
    """For each worker, the seconds between its shards."""
    found = []
    for path in (folder / "spans").glob("*.jsonl"):
        notes = [note for note in map(json.loads, path.read_text().splitlines()) if note["what"] == "shard"]
        found.append(sum(after["start"] - before["end"] for before, after in itertools.pairwise(notes)))
    return found


def numbered(members: list[Member]) -> list[Member]:
    """The plan as the simulation wants it: ids are numbers."""
    return [Member(str(row), m.subset, m.seed, m.split, m.fraction) for row, m in enumerate(members)]


def test_makespan_of_a_real_run(tmp_path: Path) -> None:
    real = study(tmp_path, seeds=8, workers=2, epochs=3)
    done = subprocess.run(
        command("run", tmp_path / "slow.yaml", "--no-report"),
        env=environment(tmp_path, 0.1),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    plan = real.plan()
    records = {name: json.loads(path.read_text()) for name, path in results(real.root).items()}
    seconds = np.array([member_seconds(records[member.id]) for member in plan])

    # loading and results are not in the members' times; every shard is given the mean of what was seen
    measured = spans(tmp_path, "shard")
    trained: dict[str, float] = {}
    stacks: dict[str, set[str]] = {}
    for member, own in zip(plan, seconds, strict=True):
        stack = records[member.id]["stack_id"]
        trained[stack] = trained.get(stack, 0.0) + own
        stacks.setdefault(stack, set()).add(member.id)
    durations = sorted(end - start for start, end in measured)
    beside = [whole - training for whole, training in zip(durations, sorted(trained.values()), strict=True)]
    cluster = Cluster(2, gpus_per_node=2, epochs=3, shard_start=float(np.mean(beside)))

    # the shards of the simulation are the stacks of the real run
    shards = Work(numbered(plan), seconds, cluster).shards(numbered(plan), 2)
    simulated = [{plan[int(member.id)].id for member in shard.members} for shard in shards]
    assert sorted(map(sorted, stacks.values())) == sorted(map(sorted, simulated))

    # two of 2.4 s and four of 1.2 s, so that their order matters; a worker does three in a row
    course = Simulation(cluster, Launcher(), numbered(plan), seconds, np.random.default_rng(0))
    makespan = MODES["local"](course)
    found = max(end for _, end in measured) - measured[0][0]
    later = measured[1][0] - measured[0][0]  # the second worker was ready
    spread = 3 * float(np.max(np.abs(np.array(beside) - np.mean(beside))))
    assert abs(found - makespan) <= later + spread + max(handing_out(tmp_path))
    assert makespan > 4.8  # half of the training


@pytest.mark.parametrize("epochs_before", [3, 4])
def test_lost_work_of_a_killed_worker(tmp_path: Path, epochs_before: int) -> None:
    # one shard of two members; epochs of 1.6 s, so that every second one is followed by a checkpoint
    checkpoint_every = 2.4
    real = study(tmp_path, seeds=2, workers=1, epochs=6, checkpoint_seconds=checkpoint_every)
    process = subprocess.Popen(
        command("run", tmp_path / "slow.yaml", "--no-report", "--set", "subsets=[[H]]"),
        env=environment(tmp_path, 0.8),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        worker = trainer(real.root)
        wait_until(lambda: len(spans(tmp_path, "epoch")) >= epochs_before)
        last = spans(tmp_path, "epoch")[-1][1] - 0.1  # file systems' clocks tick more slowly
        wait_until(lambda: epochs_before % 2 == 1 or all(time > last for time in checkpoints(real.root)))
        os.kill(worker, signal.SIGKILL)
        assert process.wait(120) == 0  # another worker has done the rest
    finally:
        process.kill()
        process.wait()
    first = (tmp_path / "spans" / f"{worker}.jsonl").read_text().splitlines()
    assert len(first) == epochs_before  # or it was not killed in the epoch that was meant
    redone = len(spans(tmp_path, "epoch")) - 6

    # the simulation of the same: how many of the epochs that were trained does it take to be lost?
    length = float(np.mean([end - start for start, end in spans(tmp_path, "epoch")]))
    cluster = Cluster(1, checkpoint_every=checkpoint_every, epochs=6)
    members = [Member(str(row), ("H",), row, 0, 1.0) for row in range(2)]
    work, spent = Work(members, np.full(2, 3 * length), cluster), Spent([0, 0])
    Attempt(work, Shard(tuple(members)), 0.0).fail((epochs_before + 0.1) * length, spent)
    assert spent.useful + spent.lost == pytest.approx((epochs_before + 0.1) * length)
    # what is lost of the epoch in which the worker died was never finished, and is in no record
    assert int(spent.lost / length) == redone == epochs_before % 2
