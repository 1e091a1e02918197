"""Training speed of stacks against plain PyG: lattices with few and many edges, and molecules.

6 × 20 PNA, batch 64, float32, one thread. Peers: the same architecture from PyG's own layers, as HydraGNN composes
them, on ready PyG batches; and HydraGNN itself where it is installed. All variants take turns in one process; medians
of CPU time are compared. Peak memory is that of one training step in a process of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import hydragnn_peer, machine
from benchmarks.curvature_problem import CONFIG as MOLECULES
from benchmarks.curvature_problem import write_molecules
from benchmarks.meters import Clock, peak_of
from benchmarks.training_figure import draw
from benchmarks.training_table import PEER, Case, Measured, table
from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.core.runtime.this_process import prepare_process
from ensemble_mtl.data import prepare
from ensemble_mtl.models.reference import reference_model
from ensemble_mtl.study.directory import Study
from ensemble_mtl.train.loop import batches
from ensemble_mtl.train.optimizer import adam
from ensemble_mtl.train.state import initial
from ensemble_mtl.train.step import Problem, losses_and_gradient
from ensemble_mtl.worker.problem import make_problem

ROUNDS = 5
STACKS = (1, 2, 4, 6, 12, 24)
STEPS = 3
BATCHES = (16, 32, 64, 128, 256)
"""Numbers of graphs per step for which the growth of its time is measured, on the first case."""
GROWING = 4
"""Number of members in the stack of that measurement."""

LATTICE: dict[str, Any] = {
    "name": "benchmark",
    "data": {"name": "alloy", "num_configurations": 500, "supercell": (4, 2, 2)},
    "tasks": {
        "H": {"target": "mixing_enthalpy"},
        "C": {"target": "charge_transfer"},
        "M": {"target": "magnetic_moment"},
    },
    "train": {"device": "cpu"},
}
CASES: dict[str, dict[str, Any]] = {
    "FePt as published: 7 bohr, open": {**LATTICE, "graph": {"radius": 7.0, "radius_unit": "bohr"}},
    "11.5 bohr, open": {**LATTICE, "graph": {"radius": 11.5, "radius_unit": "bohr"}},
    "7 Å, periodic": {**LATTICE, "graph": {"radius": 7.0, "periodic": True}},
    "7 Å, periodic, with distances": {
        **LATTICE,
        "graph": {"radius": 7.0, "periodic": True},
        "model": {"edge_basis": 16},
    },
    "small molecules": {**MOLECULES, "model": {"trunk": {"conv": "pna"}}, "train": {"device": "cpu"}},
}
QM8: dict[str, Any] = {
    "name": "benchmark",
    "data": {
        "name": "smiles",
        "workers": 1,
        "smiles": "smiles",
        "targets": dict.fromkeys(("E1-CC2", "E2-CC2", "f1-CC2", "f2-CC2"), ""),
        "keep": {"f1-CC2": ">= 0", "f2-CC2": ">= 0"},
    },
    "graph": {"node_features": "one_hot", "elements": "found", "bonds": "found"},
    "tasks": {name: {"target": f"{name}-CC2"} for name in ("E1", "E2", "f1", "f2")},
    "split": {"name": "random", "fractions": [0.70, 0.15, 0.15]},
    "normalize": {"method": "standard", "fit_on": "train"},
    "model": {"trunk": {"conv": "pna"}},
    "train": {"device": "cpu"},
}


def run(rounds: int, qm8: Path | None = None) -> dict[str, str | bytes]:
    """Measure all cases; return file name -> content of the page and of its figure.

    Args:
        rounds: number of interleaved repetitions.
        qm8: file of QM8; if given, its molecules are trained on instead of the built-in ones.
    """
    prepare_process()
    configs = dict(CASES)
    if qm8 is not None:
        del configs["small molecules"]
        configs["QM8"] = {**QM8, "data": {**QM8["data"], "path": str(qm8.resolve())}}
    cases, growth = [], {}
    for name, config in configs.items():
        with tempfile.TemporaryDirectory() as folder:
            problem = _problem(config, Path(folder))
        cases.append(_measure(name, problem, rounds))
        growth = growth or _growth(problem, rounds)
    measured = Measured(cases, growth, GROWING, machine.measure(), rounds)
    return {"training.md": table(measured), "training.svg": draw(measured)}


def _problem(config: dict[str, Any], folder: Path) -> Problem:
    if config["data"]["name"] == "smiles" and "path" not in config["data"]:
        config = {**config, "data": {**config["data"], "path": str(write_molecules(folder))}}
    study = Study(StudyConfig.model_validate(config), folder / "study")
    study.root.mkdir(exist_ok=True)
    prepare.prepare(study, lambda done, total: None)
    return make_problem(study.config, prepare.load(study, 0), tuple(config["tasks"]), 0, 1.0, torch.device("cpu"))


def _measure(name: str, problem: Problem, rounds: int) -> Case:
    """Measure speed and memory of all variants on one kind of graphs."""
    variants: dict[str, tuple[int, Callable[[], None]]] = {PEER: (1, _peer(problem))}
    if hydragnn_peer.available():
        variants["HydraGNN"] = (1, hydragnn_peer.peer(problem))
    variants |= {f"stack of {size}": (size, _stack(problem, size)) for size in STACKS}
    for _, step in variants.values():
        step()  # a first call also loads and compiles
    memory = {variant: peak_of(step) / members for variant, (members, step) in variants.items()}
    clock = _clocked({variant: step for variant, (_, step) in variants.items()}, rounds)
    graphs = batches(problem, 0)[0]
    rates = {
        variant: [members * STEPS * len(graphs) / seconds for seconds in clock.seconds[variant]]
        for variant, (members, _) in variants.items()
    }
    batch = problem.table.batch(graphs)
    edges = batch.to_pyg().edge_index.shape[1] / len(graphs)
    nodes = batch.x.shape[1] * batch.x.shape[2]
    return Case(name, edges, rates, memory, machine.spent(variants["stack of 12"][1], problem, 12, nodes))


def _clocked(steps: dict[Any, Callable[[], None]], rounds: int) -> Clock:
    """Time :data:`STEPS` steps of each variant in every round, the variants taking turns."""
    clock = Clock()
    for _ in range(rounds):
        for variant, step in steps.items():
            step()  # after another variant's steps its data are not in the caches
            clock.time(variant, lambda step=step: [step() for _ in range(STEPS)])
    return clock


def _growth(problem: Problem, rounds: int) -> dict[int, float]:
    """Return graphs per batch -> CPU seconds of a step."""
    steps = {
        size: _stack(replace(problem, config=problem.config.model_copy(update={"batch_size": size})), GROWING)
        for size in BATCHES
    }
    clock = _clocked(steps, rounds)
    return {size: clock.of(size) / STEPS for size in BATCHES}


def _peer(problem: Problem) -> Callable[[], None]:
    """Return a training step of the same architecture made of PyG's layers, on the first batch."""
    graphs = problem.table.batch(batches(problem, 0)[0])
    batch, tasks = graphs.to_pyg(), problem.model.spec.tasks
    model = reference_model(problem.model.spec, problem.model.degrees, problem.model.node_tasks, "mean")
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        outputs = model(batch)
        sum(torch.nn.functional.mse_loss(outputs[task].flatten(), batch[f"y_{task}"]) for task in tasks).backward()
        optimizer.step()

    return step


def _stack(problem: Problem, size: int) -> Callable[[], None]:
    """Return a training step of a stack of ``size`` members on the first batch."""
    state = initial(problem.layout, problem.buffers, range(size), problem.config, torch.device("cpu"))
    weights = torch.ones(size, len(problem.model.spec.tasks))
    graphs, optimizer_state = batches(problem, 0)[0], state.group("optimizer")
    lr = torch.full((size,), 1e-3, dtype=torch.float64)

    def step() -> None:
        _, gradient = losses_and_gradient(problem, state, weights, graphs)
        adam.step(problem.config.optimizer, state["parameters"], gradient, optimizer_state, lr)

    return step
