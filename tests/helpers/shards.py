"""Whole shards in this process, on small data that are prepared once and shared by many studies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ensemble_mtl.config import registry
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.data import prepare
from ensemble_mtl.models import kernels
from ensemble_mtl.study import results
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member
from ensemble_mtl.train.step import Problem
from ensemble_mtl.worker.context import Supervisor
from ensemble_mtl.worker.problem import make_problem
from ensemble_mtl.worker.shard import train_shard
from ensemble_mtl.worker.stack import Interrupted
from helpers.alloys import silent
from helpers.emulated_cuda import emulated

LATTICE, MOLECULES = "lattice", "molecules"
SMILES = [
    *("C", "CC", "CO", "CN", "CCC", "CCO", "CCN", "COC", "CCOC", "CC(C)C", "CC(C)O", "C1CC1", "C1CCC1"),
    *("C=C", "C=O", "CC=O", "CC=C", "C=CC=C", "O=CC=O", "NCC=O", "C#N", "C#C", "CC#N", "N#CC#N", "OCC#N"),
    *("c1ccccc1", "c1ccncc1", "c1ccoc1", "Cc1ccccc1", "Oc1ccccc1"),
]
"""Molecules with every kind of bond, with rings, and one of a single atom, which has no bond."""

TRUNKS = [name for name in registry.names("models.trunk") if name != "convolutions"]
NETWORKS = [*registry.names("models.conv"), *TRUNKS]
PROBES = {"epochs": [0, "end"], "graphs": 4, "trace_samples": 4, "lanczos_steps": 4}
"""Settings of probes with fewer samples than an estimator's pilot, so that their number depends on no value."""

DIFFERENT = {"train_seconds", "stack_seconds", "stack_size", "stack_id", "device", "arrays_sha256"}
"""Entries of a result that may differ between two runs of a member: times, and what they were measured on."""


def model(network: str, **options: Any) -> dict[str, Any]:
    """Return a section ``model`` with one of :data:`NETWORKS`; ``options`` are further keys of the section."""
    trunk = {"name": network, "steps": 2} if network in TRUNKS else {"conv": network, "layers": 2}
    return {"trunk": {**trunk, "width": 4}, "heads": [4], **options}


def settings(kind: str, network: str, **sections: Any) -> dict[str, Any]:
    """Return the settings of a study of two members that learn all tasks, on a lattice or on molecules.

    Args:
        kind: :data:`LATTICE` or :data:`MOLECULES`.
        network: one of :data:`NETWORKS`.
        sections: sections that replace those here; ``train`` and ``launch`` replace single keys of theirs.
    """
    training = {"epochs": 2, "batch_size": 8, "early_stopping": None, "device": "cpu", **sections.pop("train", {})}
    launch = {"members_per_shard": 12, **sections.pop("launch", {})}
    data = _lattice() if kind == LATTICE else _molecules(network)
    common = {"name": kind, "model": model(network), "seeds": 2, "probes": None}
    return {**common, **data, "subsets": [list(data["tasks"])], "train": training, "launch": launch, **sections}


def _lattice() -> dict[str, Any]:
    return {
        "data": {"name": "alloy", "num_configurations": 40},
        "graph": {"radius": 6.0, "radius_unit": "bohr"},
        "tasks": {"H": {"target": "mixing_enthalpy"}, "C": {"target": "charge_transfer"}},
    }


def _molecules(network: str) -> dict[str, Any]:
    uses_bonds = network in TRUNKS or registry.family("models.conv").load(network).EDGE_FEATURES
    return {
        "data": {"name": "smiles", "path": "molecules.csv", "targets": ["gap", "charge"], "workers": 1},
        "graph": {"node_features": "one_hot", "elements": "found", **({"bonds": "found"} if uses_bonds else {})},
        "tasks": {"E": {"target": "gap"}, "Q": {"target": "charge"}},
    }


class Shards:
    """Makes studies in ``folder``; data that several studies have in common are prepared once and copied."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._prepared: dict[str, Path] = {}
        rng = np.random.default_rng(0)
        rows = [f"{text},{rng.normal():.6f},{rng.normal():.6f}" for text in SMILES]
        rows[1] = f"{SMILES[1]},0.5,"  # a missing label
        (folder / "molecules.csv").write_text("\n".join(["smiles,gap,charge", *rows]) + "\n")

    def study(self, written: dict[str, Any], device: str = "cpu") -> Study:
        """Make a new study with the settings ``written`` on ``device``, ready to be trained."""
        config = self._config(written, device)
        key = repr((written["data"], written["graph"]))
        number = len(list(self.folder.glob("study-*")))
        study = Study(config, self.folder / f"study-{number}")
        if key in self._prepared:
            shutil.copytree(self._prepared[key], study.root)
        else:
            study.root.mkdir()
            prepare.prepare(study, silent)
            self._prepared[key] = self.folder / f"prepared-{len(self._prepared)}"
            shutil.copytree(study.root, self._prepared[key])
        return study

    def moved(self, study: Study, written: dict[str, Any], device: str) -> Study:
        """Return the same study with the same files, to be continued on another device."""
        return Study(self._config(written, device), study.root)

    def _config(self, written: dict[str, Any], device: str) -> StudyConfig:
        at_device = {**written, "train": {**written["train"], "device": device}}
        return StudyConfig.model_validate(at_device, context={"base": self.folder})

    def problem(self, written: dict[str, Any], device: str) -> Problem:
        """Return the model and data of the study's members that learn all tasks."""
        study = self.study(written, device)
        prepared = prepare.load(study, 0)
        return make_problem(study.config, prepared, tuple(written["tasks"]), 0, 1.0, torch.device(device))

    def on_cpu(self, written: dict[str, Any]) -> dict[str, Any]:
        """Train a new study on the CPU, and return the numbers of its members."""
        study = self.study(written)
        with on("cpu"):
            train(study)
        return numbers(study)


@contextmanager
def on(device: str) -> Iterator[None]:
    """Provide an emulated GPU within a context, or let the CPU do the same operations as a GPU."""
    with ExitStack() as stack:
        if device == "cuda":
            stack.enter_context(emulated())
        else:
            # compiled loops, which a GPU does not use, would round differently
            stack.enter_context(pytest.MonkeyPatch.context()).setattr(kernels, "usable", lambda values: False)
        yield


def train(study: Study, stop: Callable[[], bool] = lambda: False) -> bool:
    """Train every member of the study, shard by shard, and assert that none fails.

    Returns:
        whether all shards were trained to their ends; False if ``stop`` interrupted one.
    """
    faults: list[str] = []

    def report(event: dict[str, Any]) -> None:
        if event["event"] in ("failed", "shortage"):
            faults.append(event["error"])

    shards: dict[str, list[Member]] = {}
    for member in study.plan():
        shards.setdefault("all" if study.config.launch.mix_subsets else member.group, []).append(member)
    ends = []
    for members in shards.values():
        ends.append(train_shard(study, members, Supervisor(report, stop)))
        if isinstance(ends[-1], Interrupted):
            break
    traces = [json.loads(path.read_text()).get("traceback") for path in study.root.glob("members/*/*/failed.json")]
    assert not faults, "\n".join([*faults, *filter(None, traces)])
    return not isinstance(ends[-1], Interrupted)


def numbers(study: Study) -> dict[str, Any]:
    """Return all numbers of each member of a finished study but times: result, curves, arrays and weights."""
    return {
        f"{member.group}, seed {member.seed}: {part}": content
        for member in study.plan()
        for part, content in _parts(study.folder(member)).items()
    }


def _parts(folder: Path) -> dict[str, Any]:
    result = results.read(folder)
    record = json.loads((folder / "result.json").read_text())
    curves = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    state = torch.load(folder / "checkpoint.pt", weights_only=True)["tensors"]
    return {
        "result": {key: value for key, value in record.items() if key not in (*DIFFERENT, "probes")},
        "probes": [_without_times(probe) for probe in record["probes"]],
        "curves": [_without_times(line) for line in curves],
        "predictions": {task: values.tolist() for task, values in result.predictions.items()},
        "densities": [[probe.nodes.tolist(), probe.weights.tolist()] for probe in result.probes],
        "weights": {name: values.tolist() for name, values in state.items() if "seconds" not in name},
    }


def _without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if "seconds" not in key}


def differing(actual: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Return which entries of :func:`numbers` differ in any bit; two NaN count as the same."""
    assert actual.keys() == expected.keys()
    return [key for key in expected if json.dumps(actual[key]) != json.dumps(expected[key])]
