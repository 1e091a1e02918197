"""The curvature of a trained member at its checkpoint, by the study's probes or with other settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ensemble_mtl.config.registry import unknown
from ensemble_mtl.config.sections import ProbeConfig
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.errors import ConfigError, StudyError
from ensemble_mtl.core.runtime.provenance import device_name, versions
from ensemble_mtl.core.runtime.this_process import one_thread
from ensemble_mtl.curvature.measure import measure
from ensemble_mtl.data import prepare
from ensemble_mtl.study import results
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member, label
from ensemble_mtl.study.results import ProbeResult
from ensemble_mtl.study.study_files import configuration
from ensemble_mtl.train import checkpoint
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem
from ensemble_mtl.worker.problem import choose_device, make_problem

Weights = Literal["last", "best"]
"""The weights of the last epoch, as the study's probe ``end`` has them, or those of the smallest validation loss."""


@dataclass(frozen=True)
class MeasuredCurvature:
    """The curvature of one trained member.

    Attributes:
        study: the member's study.
        member: the member whose weights were probed.
        weights: which of its weights these are.
        settings: the settings of the probes.
        probes: the curvature of each task's loss.
        data_sha256: content hash of the data.
        synthetic: whether the data are synthetic.
        device: what the measurement ran on.
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
        """Return the probes as JSON values, without the nodes and weights of their spectra."""
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

    def to_json_with_spectra(self) -> dict[str, Any]:
        """Return the probes as JSON values, with the nodes and weights of their spectra."""
        record = self.to_json()
        arrays = map(results.probe_arrays, self.probes)
        probes = [{**probe, **spectrum} for probe, spectrum in zip(record["probes"], arrays, strict=True)]
        return {**record, "probes": probes}


def measure_curvature(
    study: Study,
    member: Member,
    *,
    overrides: Sequence[str] = (),
    weights: Weights = "last",
    tasks: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
) -> MeasuredCurvature:
    """Measure the curvature of a trained member, without changing its study.

    With the study's own settings the numbers are those of its probe ``end``, bit for bit. It runs with one thread, as a
    worker does, since more threads round otherwise.

    Args:
        study: a study that was run; its ``resolved.yaml`` has the settings.
        member: one of its members, with a checkpoint.
        overrides: texts such as ``"probes.graphs=32"``, which set a key of ``probes``, or ``"train.device=cpu"``.
        weights: ``last`` for those of the last epoch, ``best`` for those of the smallest validation loss.
        tasks: tasks that the member learns; all of them by default.
        say: receives a line of text at each step; by default nothing is shown.

    Returns:
        What was measured; its ``probes`` are one per task, in the order of the member's subset.

    Raises:
        ConfigError: an override is wrong, or sets another key.
        StudyError: the member has no checkpoint, does not learn a task, or rests on other data.
        StoreError: the checkpoint or the data are damaged.
        DataError: the split is missing, or of other data.
    """
    config = _config(study, overrides)
    check_tasks(member, tasks)
    with one_thread():
        return _measure(study, member, config, weights, tasks, say or (lambda text: None))


def _config(study: Study, overrides: Sequence[str]) -> StudyConfig:
    """Return the study's configuration with other settings of the probes."""
    for text in overrides:
        key = text.partition("=")[0]
        if key == "probes.epochs":
            raise ConfigError(f"--set {text}: the checkpoint says which epoch; choose by --at last or best")
        if key.partition(".")[0] != "probes" and key != "train.device":
            raise ConfigError(f"--set {text}: expected a key of probes, for example probes.graphs=32")
    defaults = () if study.config.probes else ("probes={}",)
    return configuration(study.root, (*defaults, *overrides))


def _measure(
    study: Study,
    member: Member,
    config: StudyConfig,
    weights: Weights,
    tasks: Sequence[str],
    say: Callable[[str], None],
) -> MeasuredCurvature:
    path = study.checkpoint(member)
    if not path.exists():
        raise StudyError(f"{path}: no such checkpoint, so the member is not trained yet; `ensemble-mtl run` trains it")
    device = choose_device(config)
    state, _ = checkpoint.load(path, member.id, device)
    prepared = prepare.load(study, member.split)
    _refuse_other_data(study, member, prepared.store.sha256)
    problem = make_problem(config, prepared, member.subset, member.split, member.fraction, device)
    _refuse_other_sizes(path, problem, state)
    settings = config.probes or ProbeConfig()
    # in the order of the subset, as the study probes them, so that both draw the same random vectors
    chosen = [task for task in member.subset if task in (tasks or member.subset)]
    (probes,) = measure(problem, with_weights(state, weights), settings, chosen, say)
    if absent := [task for task in chosen if all(probe.task != task for probe in probes)]:
        raise StudyError(
            f"probes.graphs: none of the {settings.graphs} training graphs of the probe set has a label of "
            f"{', '.join(absent)}; take more graphs, or other tasks"
        )
    return MeasuredCurvature(
        study=study,
        member=member,
        weights=weights,
        settings=settings,
        probes=probes,
        data_sha256=prepared.store.sha256,
        synthetic=prepared.store.provenance["synthetic"],
        device=device_name(device),
    )


def check_tasks(member: Member, tasks: Sequence[str]) -> None:
    """Check that the member learns each of ``tasks``, since it has no head for any other task.

    Raises:
        StudyError: it does not learn one of them.
    """
    for task in tasks:
        if task not in member.subset:
            raise StudyError(
                f"--task: {unknown(task, list(member.subset))}, which {label(member.subset)} member {member.id} learns"
            )


def with_weights(state: StackState, weights: Weights) -> StackState:
    """Return the state of one member with the weights that are asked for, at the epoch that they are of."""
    if weights == "last":
        return state
    tensors = {**state.tensors, **{name: state[f"best.{name}"] for name in ("parameters", "buffers")}}
    return replace(state, tensors=tensors, epoch=int(state["best.epoch"][0]))


def _refuse_unlabelled(settings: ProbeConfig, tasks: Sequence[str], probes: Sequence[ProbeResult]) -> None:
    """Raise StudyError if one of the tasks has no probe, because no graph of the probe set has a label of it."""
    probed = {probe.task for probe in probes}
    if unlabelled := [task for task in tasks if task not in probed]:
        raise StudyError(
            f"probes.graphs: none of the {settings.graphs} training graphs of the probe set has a label of "
            f"{', '.join(unlabelled)}; take more graphs, or other tasks"
        )


def _refuse_other_data(study: Study, member: Member, sha256: str) -> None:
    """Raise StudyError if the member's result was made from other data than those with the content hash ``sha256``."""
    path = study.result(member)
    try:
        trained_on = json.loads(path.read_text())["data_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # the member is not finished, or its result is damaged, which does not matter here
    if trained_on != sha256:
        raise StudyError(
            f"{path}: trained on other data ({str(trained_on)[:12]}) than {study.data} now holds ({sha256[:12]}); "
            "restore the former data"
        )


def _refuse_other_sizes(path: Path, problem: Problem, state: StackState) -> None:
    """Raise StudyError if the checkpoint's weights do not fit the model that the data at hand require."""
    for name, layout in (("parameters", problem.layout), ("buffers", problem.buffers)):
        size = state[name].shape[1]
        if size != layout.size:
            raise StudyError(
                f"{path}: got {size} {name}, expected {layout.size} by the configuration and the data at hand; "
                "restore the data that the member was trained on"
            )
