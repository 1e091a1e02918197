"""A study that is interrupted after its first epoch and resumed, against one that is not."""

from __future__ import annotations

import json
from typing import Any

import torch

from benchmarks.gpu.data import config_of, study_of
from benchmarks.gpu.models import GRAPHS, HEADS, TRAIN, WIDTH, deviation
from benchmarks.gpu.part import Setting
from benchmarks.gpu.recording import observed
from ensemble_mtl.core.errors import TrainingError
from ensemble_mtl.data import prepare
from ensemble_mtl.study.directory import Study
from ensemble_mtl.train import checkpoint
from ensemble_mtl.worker.context import Supervisor
from ensemble_mtl.worker.shard import train_shard

PROBES = {"epochs": [0, "end"], "graphs": 4, "trace_samples": 4, "lanczos_steps": 3}
COMPARED = ("parameters", "best.parameters", "best.loss", "optimizer.first", "optimizer.second")


def compare(setting: Setting, case: str) -> dict[str, Any]:
    """Deviation of the members' last checkpoints, and whether they agree bit for bit."""
    whole, parted = (_study(setting, case, place) for place in (f"{case}-whole", f"{case}-parted"))
    with observed() as recordings:
        _attempt(whole, interrupted=False)
        _attempt(parted, interrupted=True)
        _attempt(parted, interrupted=False)
    pairs = [(_tensors(whole, index), _tensors(parted, index)) for index in range(len(whole.plan()))]
    apart = [deviation(other[name], one[name]) for one, other in pairs for name in one]
    bits = [torch.equal(other[name], one[name]) for one, other in pairs for name in one]
    return {
        "deviations": {"resumed against uninterrupted": max(apart)},
        "resumed the same": all(bits),
        "asked": recordings.asked,
        "recordings": len(recordings.seconds),
        "refused": recordings.refused,
    }


def _study(setting: Setting, case: str, place: str) -> Study:
    tasks = list(config_of(setting, case).tasks)
    trunk = {"name": "graph_network", "steps": 2} if case == "qm8" else {"conv": "pna", "layers": 2}
    study = study_of(
        setting,
        case,
        place,
        model={"trunk": {**trunk, "width": WIDTH}, "heads": HEADS},
        train={**TRAIN, "device": "cpu" if setting.device == "cpu" else "cuda"},
        subsets=[tasks[:2], tasks[:1]],
        seeds=2,
        probes=PROBES,
        launch={"mix_subsets": True, "members_per_shard": 4},
    )
    train = len(prepare.load(study, 0).split.train)
    return Study(study.config.model_copy(update={"fractions": (min(1.0, GRAPHS / train),)}), study.root)


def _attempt(study: Study, *, interrupted: bool) -> None:
    """Train all members in one stack; an interruption comes after the first epoch.

    Raises:
        TrainingError: a member failed.
    """
    members = study.plan()
    train_shard(study, members, Supervisor(lambda event: None, lambda: interrupted))
    for member in members:
        if study.failure(member).exists():
            failure = json.loads(study.failure(member).read_text())
            raise TrainingError(f"{failure['error']} {failure.get('traceback', '')[-600:]}")


def _tensors(study: Study, index: int) -> dict[str, torch.Tensor]:
    """What the member's checkpoint holds of its training."""
    member = study.plan()[index]
    state, _ = checkpoint.load(study.checkpoint(member), member.id, torch.device("cpu"))
    return {name: state[name] for name in COMPARED if name in state.tensors}
