"""Curvature of a member that has been trained: the study's own probes at its checkpoint, with any settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ensemble_mtl.config.registry import unknown
from ensemble_mtl.config.sections import ProbeConfig
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import StudyError
from ensemble_mtl.core.runtime.provenance import device_name, versions
from ensemble_mtl.curvature.measure import measure
from ensemble_mtl.data import prepare
from ensemble_mtl.study import results
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member, label
from ensemble_mtl.study.results import ProbeResult
from ensemble_mtl.train import checkpoint
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem
from ensemble_mtl.worker.shard import choose_device, make_problem

Weights = Literal["last", "best"]
"""Of the last epoch, as the study's probe ``end``, or of the least validation loss."""


@dataclass(frozen=True)
class Reprobed:
    """What was measured.

    Attributes:
        study: the member's study.
        member: whose weights.
        weights: which of them.
        settings: how it was measured.
        probes: one per task.
        data_sha256: content hash of the data.
        synthetic: whether these are.
        device: what it ran on.
    """

    study: Study
    member: Member
    weights: Weights
    settings: ProbeConfig
    probes: list[ProbeResult]
    data_sha256: str
    synthetic: bool
    device: str

    def to_json(self) -> dict[str, Any]:
        """JSON values, without the probes' arrays."""
        settings = self.settings.model_dump(mode="json", exclude={"epochs"})
        return {
            "study": self.study.config.name,
            "directory": str(self.study.root),
            "member": self.member.to_json(),
            "weights": self.weights,
            "epoch": self.probes[0].epoch,
            "data_sha256": self.data_sha256,
            "synthetic": self.synthetic,
            "dtype": self.study.config.train.dtype,
            "device": self.device,
            "versions": versions(),
            "settings": settings,
            "probes": [results.probe_record(probe) for probe in self.probes],
        }

    def whole(self) -> dict[str, Any]:
        """The same with nodes and weights of the spectra."""
        found = self.to_json()
        arrays = map(results.probe_arrays, self.probes)
        return {**found, "probes": [{**one, **more} for one, more in zip(found["probes"], arrays, strict=True)]}


def reprobe(
    study: Study,
    member: Member,
    config: StudyConfig,
    weights: Weights,
    tasks: Sequence[str],
    tell: Callable[[str], None],
) -> Reprobed:
    """Measure the member as the study's own probes would, bit for bit; nothing in the study is changed.

    Args:
        study: the study as it was run.
        member: of its plan.
        config: the study's, but for the probes' settings and the device.
        weights: where to measure.
        tasks: some of the member's; all if there are none.
        tell: told of each step.

    Raises:
        StudyError: the member has no checkpoint, does not learn a task, or rests on other data.
        StoreError: the checkpoint or the data are damaged.
        DataError: the split is missing, or of other data.
    """
    check_tasks(member, tasks)
    path = study.checkpoint(member)
    if not path.exists():
        raise StudyError(f"{path}: there is no checkpoint, so the member is not trained; `ensemble-mtl run` does it")
    device = choose_device(config)
    saved, _ = checkpoint.load(path, member.id, device)
    prepared = prepare.load(study, member.split)
    _refuse_other_data(study, member, prepared.store.sha256)
    problem = make_problem(config, prepared, member.subset, member.split, member.fraction, device)
    _refuse_other_shape(path, problem, saved)
    settings = config.probes or ProbeConfig()
    # in the order of the subset, since the study has them so
    chosen = [task for task in member.subset if task in (tasks or member.subset)]
    (found,) = measure(problem, at(saved, weights), settings, chosen, tell)
    if absent := [task for task in chosen if all(one.task != task for one in found)]:
        raise StudyError(
            f"probes.graphs: none of the {settings.graphs} training graphs of the probe set has a label of "
            f"{', '.join(absent)}; take more graphs, or other tasks"
        )
    return Reprobed(
        study=study,
        member=member,
        weights=weights,
        settings=settings,
        probes=found,
        data_sha256=prepared.store.sha256,
        synthetic=bool(prepared.store.provenance.get("synthetic", False)),
        device=device_name(device),
    )


def check_tasks(member: Member, tasks: Sequence[str]) -> None:
    """Raise StudyError unless the member learns each of ``tasks``: only these have a head that means something."""
    for task in tasks:
        if task not in member.subset:
            raise StudyError(
                f"--task: {unknown(task, list(member.subset))}, which {label(member.subset)} member {member.id} learns"
            )


def at(state: StackState, weights: Weights) -> StackState:
    """The state of one member with the weights asked for, as of their own epoch."""
    if weights == "last":
        return state
    tensors = {**state.tensors, **{name: state[f"best.{name}"] for name in ("parameters", "buffers")}}
    return replace(state, tensors=tensors, epoch=int(state["best.epoch"][0]))


def _refuse_other_data(study: Study, member: Member, sha256: str) -> None:
    path = study.result(member)
    try:
        used = json.loads(path.read_text())["data_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # the member is not finished, or its result damaged, which is no matter here
    if used != sha256:
        raise StudyError(
            f"{path}: trained on other data ({str(used)[:12]}) than {study.data} now holds ({sha256[:12]}); "
            "restore the former data"
        )


def _refuse_other_shape(path: Path, problem: Problem, state: StackState) -> None:
    for name, layout in (("parameters", problem.layout), ("buffers", problem.buffers)):
        size = state[name].shape[1]
        if size != layout.size:
            raise StudyError(
                f"{path}: holds {size} {name}, and the configuration with the data at hand has {layout.size}; "
                "restore the data that the member was trained on"
            )
