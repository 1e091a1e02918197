"""A study directory with made-up numbers, written without training anything."""

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
from ensemble_mtl.report.records import (
    AppendixERecord,
    EstimatedHessian,
    ExactHessian,
    Quadrature,
    Table1Cell,
    Table1Record,
    TraceEstimate,
)
from ensemble_mtl.study import results
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member, label
from ensemble_mtl.study.results import MemberResult, ProbeResult
from helpers.probes import probe_result

NUM_GRAPHS, NUM_NODES = 240, 8
TABLE_1 = {
    "HCM": {"H": 7.54e-3, "C": 6.77e-3, "M": 1.04e-2}, "HC": {"H": 7.33e-3, "C": 7.36e-3},
    "HM": {"H": 6.64e-3, "M": 1.02e-2}, "CM": {"C": 5.94e-3, "M": 9.30e-3},
    "H": {"H": 1.02e-2}, "C": {"C": 5.94e-3}, "M": {"M": 8.77e-3},
}  # fmt: skip
"""Mean scaled test RMSE of Lupo Pasini 2022."""
TARGETS = {"H": "mixing_enthalpy", "C": "charge_transfer", "M": "magnetic_moment"}


def known_hessian() -> AppendixERecord:
    """Return a record of ``reproduce appendix-e`` for a matrix with four eigenvalues."""
    trace = TraceEstimate(value=-0.2, sem=0.4, samples=4, deviation=0.75)
    ends = {"frobenius": 3.0, "eig_min": -2.0, "eig_max": 2.0}
    estimated = EstimatedHessian(trace=trace, **ends, frobenius_sem=None, wasserstein=0.5, products=2)
    return AppendixERecord(
        name="appendix_e", options={"seed": 0}, agrees=True, limit=3.0, exact=ExactHessian(trace=-0.5, **ends),
        published=estimated, deflated=estimated, trace_samples=(-1.0, 0.5, -0.5, 0.2),
        eigenvalues=(-2.0, -1.0, 0.5, 2.0),
        spectra={"quadrature": Quadrature(nodes=((-2.0, 2.0, None),), weights=((0.5, 0.5, 0.0),))},
    )  # fmt: skip


def beside_published() -> Table1Record:
    """Return a record of ``reproduce table-1`` with three cells, for a study without members."""
    absent = dict.fromkeys(("found", "percent", "percent_ci95", "p_holm", "agrees", "published_effect", "effect"))
    cells = tuple(
        Table1Cell(
            subset=subset, task=task, published=(mean, 0.1 * mean, 12), study_subset=tuple(subset), study_task=task,
            **absent,
        )
        for subset, task, mean in (("HM", "H", 6.6e-3), ("H", "H", 1e-2), ("HM", "M", 1e-2))
    )  # fmt: skip
    return Table1Record(
        name="table_1", study="fept", agrees=False, complete=False, graphs=NUM_GRAPHS, epochs={}, cells=cells
    )


def make_study(root: Path, *, seeds: int = 6, synthetic: bool = True, label: str | None = None, **more: Any) -> Study:
    """Write a planned study with data and splits, but without results; ``more`` are sections of its configuration."""
    tasks = {name: {"target": target} for name, target in TARGETS.items()}
    if label is not None:
        tasks["H"]["label"] = label
    plugins = {name: Options(name="fake") for name in ("conv", "optimizer", "launcher")}
    schedule = Options(name="constant")
    config = StudyConfig(
        name=more.pop("name", "fept-example"), data=Options(name="fake"), split=Options(name="composition"),
        tasks=tasks, seeds=seeds, model=ModelConfig(trunk={"conv": plugins["conv"]}),
        launch=LaunchConfig(launcher=plugins["launcher"]),
        train=TrainConfig(optimizer=plugins["optimizer"], schedule=schedule), **more,
    )  # fmt: skip
    study = Study(config, root)
    graph_store.save(study.data, make_store(synthetic=synthetic))
    for seed in config.split_seeds:
        order = np.random.default_rng(seed).permutation(NUM_GRAPHS).tolist()
        parts = {"train": order[:168], "val": sorted(order[168:204]), "test": sorted(order[204:])}
        sha256, scale = graph_store.load(study.data).sha256, {"shift": 0.0, "scale": 1.0, "method": "standard"}
        content = {"data_sha256": sha256, "split": parts, "normalizers": {}, "input_normalizer": scale}
        atomic.write_json(study.split(seed), content)
    atomic.write_json(root / "appendix-e.json", known_hessian().model_dump(mode="json"))
    atomic.write_json(root / "table-1.json", beside_published().model_dump(mode="json"))
    return study


def make_store(*, synthetic: bool = True) -> GraphStore:
    """Return the graphs of an alloy like FePt, whose properties follow its composition."""
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
    store = GraphStore(
        [f"cell-{i}" for i in range(NUM_GRAPHS)], np.arange(NUM_GRAPHS + 1) * NUM_NODES,
        np.where(iron, 26, 78).ravel().astype(np.int16), np.zeros(NUM_GRAPHS, dtype=np.int64), topologies,
        targets, info, "", provenance,
    )  # fmt: skip
    return GraphStore(**{**vars(store), "sha256": graph_store.content_sha256(store)})


def error_of(member: Member, task: str) -> float:
    """Return the scaled test RMSE that :func:`finish` writes: Table 1's mean, with noise by seed and group."""
    seed_noise = np.random.default_rng([member.seed, member.split]).normal()
    group_noise = np.random.default_rng([member.seed, member.split, *member.group.encode()]).normal()
    return float(TABLE_1[label(member.subset)][task] * (1 + 0.03 * seed_noise + 0.04 * group_noise))


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
    for member in study.plan():
        finish(study, member)


def make_incomplete(root: Path) -> Study:
    """A study of which one member failed and most are missing."""
    study = make_study(root, seeds=3)
    plan = study.plan()
    fail(study, plan[0], "not finite")
    for member in plan:
        if member.subset in (("H", "C"), ("H", "M"), ("M",)) and member.seed < 2:
            finish(study, member)
    return study


def fail(study: Study, member: Member, error: str, attempts: int = 2) -> None:
    """Record the member as failed."""
    atomic.write_json(study.failure(member), {"error": error, "attempts": attempts, "traceback": "…"})


def _metrics(store: GraphStore, task: str, error: float) -> dict[str, dict[str, float]]:
    width = float(np.ptp(store.targets[TARGETS[task]]))
    errors = {"rmse": error * width, "mae": 0.8 * error * width, "rmse_scaled": error, "mae_scaled": 0.8 * error}
    return {part: dict(errors) for part in ("train", "val", "test")}


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
    probes = []
    for epoch, scale in ((0, 40.0), (epochs, 6.0 * len(member.subset))):
        nodes = np.sort(scale * (random.exponential(0.15, (1, 20)) - 0.08))
        nodes[0, -1] = scale * (1 + 0.05 * random.random())
        weights = np.exp(-6 * np.abs(nodes) / scale)
        weights /= weights.sum()
        trace = float(30000 * (nodes * weights).sum()) * (1 if epoch == 0 or task != "C" else -0.1)
        probes.append(probe_result(
            task=task, epoch=epoch, num_parameters=30000, num_graphs=64, trace=trace, trace_sem=abs(trace) * 0.03 + 1,
            trace_samples=100, eig_min=float(nodes.min()), eig_max=float(nodes.max()), orthogonality=1e-12,
            num_matvecs=120, seconds=0.5, nodes=nodes, weights=weights, pairs=_pairs(member, task, epoch),
        ))  # fmt: skip
    return probes


def _pairs(member: Member, task: str, epoch: int) -> dict[str, dict[str, float]]:
    """Return the comparisons with all other tasks; they are the same for both tasks of a pair, and differ by member."""
    pairs = {}
    for peer in member.subset:
        random = np.random.default_rng([member.seed, epoch, *"".join(sorted(task + peer)).encode()])
        pairs[peer] = {
            "gradient_cosine": random.uniform(-0.5, 0.9), "eigenvector_overlap": random.uniform(0.0, 0.6),
            "wasserstein": random.uniform(0.0, 2.0), "energy_wasserstein": random.uniform(0.0, 0.3),
            "outlier_wasserstein": random.uniform(0.0, 9.0),
        }  # fmt: skip
    return {peer: values for peer, values in pairs.items() if peer != task}


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
