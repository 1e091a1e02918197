"""A study directory with known numbers, made without training anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ensemble_mtl.config.registry import Options
from ensemble_mtl.config.sections import LaunchConfig, ModelConfig, TrainConfig
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.storage import atomic
from ensemble_mtl.data import store as graph_store
from ensemble_mtl.data.columns import GraphStore, Topologies
from ensemble_mtl.data.graph import TargetInfo
from ensemble_mtl.study import results
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member, label
from ensemble_mtl.study.results import MemberResult, ProbeResult

NUM_GRAPHS, NUM_NODES = 240, 8
TABLE_1 = {
    "HCM": {"H": 7.54e-3, "C": 6.77e-3, "M": 1.04e-2}, "HC": {"H": 7.33e-3, "C": 7.36e-3},
    "HM": {"H": 6.64e-3, "M": 1.02e-2}, "CM": {"C": 5.94e-3, "M": 9.30e-3},
    "H": {"H": 1.02e-2}, "C": {"C": 5.94e-3}, "M": {"M": 8.77e-3},
}  # fmt: skip
"""Mean scaled test RMSE of Lupo Pasini 2022."""
TARGETS = {"H": "mixing_enthalpy", "C": "charge_transfer", "M": "magnetic_moment"}


KNOWN_HESSIAN = {
    "eigenvalues": [-2.0, -1.0, 0.5, 2.0], "exact": {"trace": -0.5}, "trace_samples": [-1.0, 0.5, -0.5, 0.2],
    "spectra": {"quadrature": {"nodes": [[-2.0, 2.0, None]], "weights": [[0.5, 0.5, 0.0]]}},
}  # fmt: skip
"""What is drawn of a record of ``reproduce appendix-e``."""
BESIDE_PUBLISHED = {
    "cells": [
        {"subset": subset, "task": task, "published": [mean, 0.1 * mean, 12], "found": None,
         "study_subset": list(subset), "study_task": task}
        for subset, task, mean in (("HM", "H", 6.6e-3), ("H", "H", 1e-2), ("HM", "M", 1e-2))
    ]
}  # fmt: skip
"""What is drawn of a record of ``reproduce table-1``."""


def make_study(root: Path, *, seeds: int = 6, synthetic: bool = True, label: str | None = None, **more: Any) -> Study:
    """A planned study with data and split, but no results."""
    tasks = {name: {"target": target} for name, target in TARGETS.items()}
    if label is not None:
        tasks["H"]["label"] = label
    part = {name: Options(name="fake") for name in ("conv", "optimizer", "launcher")}
    schedule = Options(name="constant")
    config = StudyConfig(
        name=more.pop("name", "fept-example"), data=Options(name="fake"), split=Options(name="composition"),
        tasks=tasks, seeds=seeds, model=ModelConfig(conv=part["conv"]), launch=LaunchConfig(launcher=part["launcher"]),
        train=TrainConfig(optimizer=part["optimizer"], schedule=schedule), **more,
    )  # fmt: skip
    study = Study(config, root)
    graph_store.save(study.data, make_store(synthetic=synthetic))
    for seed in config.split_seeds:
        order = np.random.default_rng(seed).permutation(NUM_GRAPHS).tolist()
        parts = {"train": order[:168], "val": sorted(order[168:204]), "test": sorted(order[204:])}
        content = {"data_sha256": graph_store.load(study.data).sha256, "split": parts, "normalizers": {}}
        atomic.write_json(study.split(seed), content)
    atomic.write_json(root / "appendix-e.json", KNOWN_HESSIAN)
    atomic.write_json(root / "table-1.json", BESIDE_PUBLISHED)
    return study


def make_store(*, synthetic: bool = True) -> GraphStore:
    """An FePt-like alloy whose properties follow its composition."""
    random = np.random.default_rng(3)
    share = random.random(NUM_GRAPHS)
    iron = random.random((NUM_GRAPHS, NUM_NODES)) < share[:, None]
    share = iron.mean(axis=1)
    targets = {
        "mixing_enthalpy": -0.4 * share * (1 - share) + 0.01 * random.normal(size=NUM_GRAPHS),
        "charge_transfer": (np.where(iron, 0.3, -0.2) + 0.05 * random.normal(size=iron.shape)).ravel(),
        "magnetic_moment": (np.where(iron, 2.4, 0.3) + 0.1 * random.normal(size=iron.shape)).ravel(),
    }
    info = (
        TargetInfo("mixing_enthalpy", "graph", "Ry"), TargetInfo("charge_transfer", "node", "e"),
        TargetInfo("magnetic_moment", "node", "μB"),
    )  # fmt: skip
    ring = np.array([np.arange(NUM_NODES), np.roll(np.arange(NUM_NODES), 1)])
    topologies = Topologies(
        np.array([0, NUM_NODES]), np.array([0, NUM_NODES]), ring, np.ones(NUM_NODES),
        np.zeros((NUM_NODES, 3)), np.full((1, 3, 3), np.nan),
    )  # fmt: skip
    provenance = {"notes": ["pure references: Fe, Pt"], "skipped": ["bad.txt: truncated"], "synthetic": synthetic}
    made = GraphStore(
        [f"cell-{i}" for i in range(NUM_GRAPHS)], np.arange(NUM_GRAPHS + 1) * NUM_NODES,
        np.where(iron, 26, 78).ravel().astype(np.int16), np.zeros(NUM_GRAPHS, dtype=np.int64), topologies,
        targets, info, "", provenance,
    )  # fmt: skip
    return GraphStore(**{**vars(made), "sha256": graph_store.content_sha256(made)})


def error_of(member: Member, task: str) -> float:
    """The scaled test RMSE that :func:`finish` gives: Table 1's mean, and noise by seed, subset and weighting."""
    shared = np.random.default_rng([member.seed, member.split]).normal()
    own = np.random.default_rng([member.seed, member.split, *member.group.encode()]).normal()
    return float(TABLE_1[label(member.subset)][task] * (1 + 0.03 * shared + 0.04 * own))


def finish(study: Study, member: Member, /, **changes: Any) -> MemberResult:
    """Write the member's result and history, as a training would."""
    random = np.random.default_rng([member.seed, len(member.subset)])
    store = graph_store.load(study.data)
    epochs = 20 + member.seed % 3
    result = MemberResult(
        member=member.to_json(),
        data_sha256=store.sha256,
        metrics={task: _metrics(store, task, error_of(member, task)) for task in member.subset},
        units={task: store.target_info(TARGETS[task]).unit for task in member.subset},
        epochs=epochs,
        best_epoch=epochs - 2,
        stopped_early=True,
        train_seconds=9.0 + 1.1 * len(member.subset) + 0.3 * float(random.normal()),
        stack_seconds=60.0,
        stack_size=12,
        num_parameters={"total": 30000 + 4000 * len(member.subset), "shared": 30000},
        device="8 cores, example CPU",
        dtype="float32",
        versions={"python": "3.11.0", "torch": "2.13.0"},
        predictions={task: _predictions(study, store, member, task) for task in member.subset},
        probes=[probe for task in member.subset for probe in _probes(member, task, epochs)],
        stack_id=f"{label(member.subset)}-{member.seed % 2}",
    )
    result = MemberResult(**{**vars(result), **changes})
    results.write(study.folder(member), result)
    lines = [json.dumps(_epoch(member, epoch)) for epoch in range(1, epochs + 1)]
    study.metrics(member).write_text("\n".join(lines) + "\n")
    return result


def finish_all(study: Study) -> None:
    """Finish every planned member."""
    for member in study.members():
        finish(study, member)


def fail(study: Study, member: Member, error: str, attempts: int = 2) -> None:
    """Record the member as failed."""
    atomic.write_json(study.failure(member), {"error": error, "attempts": attempts, "traceback": "…"})


def _metrics(store: GraphStore, task: str, error: float) -> dict[str, dict[str, float]]:
    width = float(np.ptp(store.targets[TARGETS[task]]))
    one = {"rmse": error * width, "mae": 0.8 * error * width, "rmse_scaled": error, "mae_scaled": 0.8 * error}
    return {part: dict(one) for part in ("train", "val", "test")}


def _predictions(study: Study, store: GraphStore, member: Member, task: str) -> Any:
    test = json.loads(study.split(member.split).read_text())["split"]["test"]
    values = store.targets[TARGETS[task]]
    if store.target_info(TARGETS[task]).level == "node":
        values = values.reshape(NUM_GRAPHS, NUM_NODES)
    true = values[test].ravel()
    noise = np.random.default_rng(member.seed).normal(size=true.shape)
    return (true + 10 * error_of(member, task) * np.ptp(values) * noise).astype(np.float32)


def _probes(member: Member, task: str, epochs: int) -> list[ProbeResult]:
    random = np.random.default_rng([member.seed, *task.encode()])
    found = []
    for epoch, scale in ((0, 40.0), (epochs, 6.0 * len(member.subset))):
        nodes = np.sort(scale * (random.exponential(0.15, (1, 20)) - 0.08))
        nodes[0, -1] = scale * (1 + 0.05 * random.random())
        weights = np.exp(-6 * np.abs(nodes) / scale)
        weights /= weights.sum()
        trace = float(30000 * (nodes * weights).sum()) * (1 if epoch == 0 or task != "C" else -0.1)
        found.append(ProbeResult(
            task, epoch, 30000, 64, 0.1, trace, abs(trace) * 0.03 + 1, 100, float(nodes.min()), float(nodes.max()),
            1e-12, 120, 0.5, nodes, weights, pairs=_pairs(member, task, epoch),
        ))  # fmt: skip
    return found


def _pairs(member: Member, task: str, epoch: int) -> dict[str, dict[str, float]]:
    """The same under both names of a pair, and no two members alike."""
    found = {}
    for other in member.subset:
        random = np.random.default_rng([member.seed, epoch, *"".join(sorted(task + other)).encode()])
        found[other] = {
            "gradient_cosine": random.uniform(-0.5, 0.9), "eigenvector_overlap": random.uniform(0.0, 0.6),
            "wasserstein": random.uniform(0.0, 2.0), "energy_wasserstein": random.uniform(0.0, 0.3),
            "outlier_wasserstein": random.uniform(0.0, 9.0),
        }  # fmt: skip
    return {other: values for other, values in found.items() if other != task}


def _epoch(member: Member, epoch: int) -> dict[str, Any]:
    errors = {task: error_of(member, task) * (1 + 12 * np.exp(-epoch / 4)) for task in member.subset}
    losses = sum(error**2 for error in errors.values())
    return {
        "epoch": epoch, "lr": 1e-3, "train_loss": losses, "val_loss": losses, "seconds": 0.5, "stack": 12,
        "train_rmse_scaled": {task: 0.9 * error for task, error in errors.items()}, "val_rmse_scaled": errors,
        "train_mae_scaled": {task: 0.7 * error for task, error in errors.items()},
        "val_mae_scaled": {task: 0.8 * error for task, error in errors.items()},
        **({} if epoch % 2 else {"test_mae_scaled": {task: 0.85 * error for task, error in errors.items()}}),
    }  # fmt: skip
