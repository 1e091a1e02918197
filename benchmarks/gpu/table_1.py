"""Part 5: Table 1 of FePt as it would be run, all members in one stack, until the time is up; then resumed."""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.gpu.clock import forget_memory, peak_memory_mib
from benchmarks.gpu.data import config_of, name_of, study_of
from benchmarks.gpu.part import Record, Setting, main
from benchmarks.gpu.recording import observed
from ensemble_mtl.core.errors import TrainingError
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.member_files import last_metrics
from ensemble_mtl.study.plan import Member
from ensemble_mtl.worker.context import Supervisor
from ensemble_mtl.worker.shard import train_shard
from ensemble_mtl.worker.stack import Interrupted

EPOCHS = 200
FOR_THE_REST = 0.25, 20.0
"""Share of the time, and seconds at most, that are kept for the checkpoints and one epoch more."""
SMALL_SEEDS, SMALL_EPOCHS = 2, 2


def measure(setting: Setting, record: Record) -> None:
    """Train until the deadline, see that everything is checkpointed, and go on for one epoch."""
    study = _study(setting)
    members = study.plan()
    record["data"], record["members"] = name_of(setting, "fept"), len(members)
    share, most = FOR_THE_REST
    deadline = setting.until - min(most, share * setting.seconds_left())
    epochs: list[dict[str, Any]] = []
    record["epochs"] = epochs
    record["failed"] = failures = list[str]()
    record["shortages"] = shortages = list[str]()
    forget_memory(setting)

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "epoch":
            numbers = {"epoch": event["epoch"], "members": len(event["members"]), "seconds": event["seconds"]}
            epochs.append({**numbers, "since_start": time.time() - started})
        elif event["event"] in ("failed", "shortage"):
            (failures if event["event"] == "failed" else shortages).append(event["error"])
        record.write()

    started = time.time()
    with observed() as recordings:
        reached = _last_small_epoch(setting, epochs)
        record["interrupted"] = _train(study, members, Supervisor(tell, reached, deadline))
    record["recording_seconds"], record["refused"] = recordings.seconds, recordings.refused
    record["memory_mib_of_last_epoch"] = peak_memory_mib(setting)
    record["projection"] = _projection(epochs, len(members))
    record["validation"] = _validation(study)
    record["checkpoints"] = sum(study.checkpoint(member).exists() for member in members)
    if record.values["interrupted"] and epochs:
        before = epochs[-1]["epoch"]
        _train(study, members, Supervisor(tell, lambda: epochs[-1]["epoch"] > before, setting.until - 2))
        record["resumed"] = {"from": before, "to": epochs[-1]["epoch"]}
    if not epochs or failures:
        raise TrainingError("; ".join(failures) or "no epoch ended in time")


def _study(setting: Setting) -> Study:
    """The published settings, with all members in one stack; probes at the end only, part 4 times those of a start."""
    sections: dict[str, Any] = {"probes": {**_probes(setting), "epochs": ["end"]}}
    sections["train"] = {"device": "cpu" if setting.device == "cpu" else "cuda"}
    sections["launch"] = {"mix_subsets": True, "members_per_shard": 84}
    if not setting.full:
        sections |= {"seeds": SMALL_SEEDS}
    return study_of(setting, "fept", "table-1", **sections)


def _probes(setting: Setting) -> dict[str, Any]:
    probes = config_of(setting, "fept").probes
    return {} if probes is None else probes.model_dump(mode="json")


def _last_small_epoch(setting: Setting, epochs: list[dict[str, Any]]) -> Callable[[], bool]:
    """Whether to stop: a large study is stopped by its deadline, a small one after some epochs."""
    return lambda: not setting.full and len(epochs) >= SMALL_EPOCHS


def _train(study: Study, members: list[Member], supervisor: Supervisor) -> str:
    """Train as a worker does; why it ended early, or nothing."""
    end = train_shard(study, members, supervisor)
    return end.reason if isinstance(end, Interrupted) else ""


def _projection(epochs: list[dict[str, Any]], members: int) -> dict[str, float] | None:
    """Seconds per epoch, and what all epochs of all members would take if none stopped early."""
    if not epochs:
        return None
    one = statistics.median(entry["seconds"] for entry in epochs)
    # from the first epoch's end on, what lies between epochs counts as well
    first, last = epochs[0], epochs[-1]
    between = (last["since_start"] - first["since_start"]) / max(1, len(epochs) - 1) if len(epochs) > 1 else one
    return {
        "seconds_per_epoch": one,
        "seconds_per_epoch_with_files": between,
        "before_first_epoch": first["since_start"] - first["seconds"],
        "minutes_for_all_epochs": EPOCHS * between * math.ceil(members / first["members"]) / 60,
    }


def _validation(study: Study) -> dict[str, dict[str, float]]:
    """Group -> task -> mean scaled validation error at the last epoch, which shows that something is learned."""
    rows: dict[str, list[dict[str, float]]] = {}
    for member in study.plan():
        if line := last_metrics(study, member):
            rows.setdefault(member.group, []).append(json.loads(json.dumps(line["val_rmse_scaled"])))
    return {
        group: {task: statistics.fmean(row[task] for row in members) for task in members[0]}
        for group, members in rows.items()
    }


if __name__ == "__main__":
    main(measure)
