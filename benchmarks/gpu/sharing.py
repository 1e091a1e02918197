"""Part 6: several workers on one card against one worker with the same members in one stack."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.gpu.data import config_of, name_of, study_of
from benchmarks.gpu.part import EMULATED, Record, Setting, main
from ensemble_mtl.core.errors import TrainingError
from ensemble_mtl.data import prepare
from ensemble_mtl.launch import local
from ensemble_mtl.launch.base import DEADLINE, Shard
from ensemble_mtl.study.directory import Study

WORKERS, SMALL_WORKERS = 4, 2
MEMBERS, SMALL_MEMBERS = 12, 2
"""Of each worker."""
EPOCHS, TRAINING_SHARE = 3, 0.4
FOR_THE_END = 5.0


def measure(setting: Setting, record: Record) -> None:
    """The same members, by the product's own launcher of workers."""
    if setting.emulated:
        record["workers"] = EMULATED
        return
    workers, members = (WORKERS, MEMBERS) if setting.full else (SMALL_WORKERS, SMALL_MEMBERS)
    record["data"], record["workers"], record["members"] = name_of(setting, "fept"), workers, workers * members
    os.environ[DEADLINE] = str(setting.until - FOR_THE_END)  # of the workers, which inherit it
    for name, count in (("one worker", 1), ("several workers", workers)):
        record[name] = found = _trained(setting, name, count, workers * members)
        if found["failed"] or not found["stacks"]:
            raise TrainingError("; ".join(found["failed"]) or "no epoch ended in time")


def _trained(setting: Setting, name: str, workers: int, members: int) -> dict[str, Any]:
    """Train all members with so many workers; the rate is that of the last epoch, when all are at work."""
    tasks = list(config_of(setting, "fept").tasks)
    study = study_of(
        setting,
        "fept",
        name.replace(" ", "-"),
        subsets=[tasks],
        seeds=members,
        fractions=[TRAINING_SHARE],
        probes=None,
        train={"device": "cpu" if setting.device == "cpu" else "cuda", "epochs": EPOCHS},
        launch={"launcher": {"name": "local", "workers": workers}, "members_per_shard": members},
    )
    events: list[dict[str, Any]] = []
    planned = study.plan()
    shards = [Shard(tuple(planned[start::workers])) for start in range(workers)]
    finished = local.launch(study, shards, study.config.launch.launcher, events.append)
    return {"finished": finished, **_rate(study, events)}


def _rate(study: Study, events: list[dict[str, Any]]) -> dict[str, Any]:
    """Graphs per second, each counted once per member, summed over stacks that train at a time."""
    graphs = len(prepare.training_part(prepare.load(study, 0).split, TRAINING_SHARE))
    epochs = [event for event in events if event["event"] == "epoch"]
    last = {tuple(event["members"]): event for event in epochs}.values()
    return {
        "stacks": sorted(len(event["members"]) for event in last),
        "seconds_per_epoch": sorted(event["seconds"] for event in last),
        "graphs_per_second": sum(len(event["members"]) * graphs / event["seconds"] for event in last),
        "failed": [event["error"] for event in events if event["event"] in ("failed", "shortage", "retry")],
    }


if __name__ == "__main__":
    main(measure)
