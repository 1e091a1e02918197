"""Training speed of stacks against plain PyG: lattices with few and many edges, and molecules.

6 × 20 PNA, batch 64, float32, one thread. Peer: the same architecture from PyG's own layers, as HydraGNN composes
them, on ready PyG batches. All variants take turns in one process; medians of CPU time are compared. Peak memory is
that of one training step in a process of its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.curvature_problem import CONFIG as MOLECULES
from benchmarks.curvature_problem import write_molecules
from benchmarks.meters import Clock, peak_of
from benchmarks.training_table import Case, table
from ensemble_mtl import prepare
from ensemble_mtl.config import StudyConfig
from ensemble_mtl.models.reference import reference_model
from ensemble_mtl.shard import make_problem
from ensemble_mtl.study import Study
from ensemble_mtl.train.optimizer import adam
from ensemble_mtl.train.state import initial
from ensemble_mtl.train.step import Problem, batches, losses_and_gradient

ROUNDS = 7
STACKS = (1, 4, 12)
STEPS = 3

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
    "molecules, with bonds": {**MOLECULES, "model": {"conv": "pna"}, "train": {"device": "cpu"}},
}


def run(rounds: int) -> str:
    """Measure, and return a Markdown table."""
    torch.set_num_threads(1)
    cases = []
    for name, config in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            cases.append(_measure(name, _problem(config, Path(folder)), rounds))
    return table(cases, rounds)


def _problem(config: dict[str, Any], folder: Path) -> Problem:
    if config["data"]["name"] == "smiles":
        config = {**config, "data": {**config["data"], "path": str(write_molecules(folder))}}
    study = Study(StudyConfig.model_validate(config), folder / "study")
    study.root.mkdir(exist_ok=True)
    prepare.prepare(study, lambda done, total: None)
    return make_problem(study.config, prepare.load(study, 0), tuple(config["tasks"]), 0, 1.0, torch.device("cpu"))


def _measure(name: str, problem: Problem, rounds: int) -> Case:
    variants: dict[str, tuple[int, Callable[[], None]]] = {"PyG": (1, _peer(problem))}
    variants |= {f"stack of {size}": (size, _stack(problem, size)) for size in STACKS}
    memory = {variant: peak_of(step) / members for variant, (members, step) in variants.items()}
    clock = Clock()
    for _ in range(rounds):
        for variant, (_, step) in variants.items():
            step()  # after the others it finds cold caches
            clock.time(variant, lambda step=step: [step() for _ in range(STEPS)])
    graphs = batches(problem, 0)[0]
    rates = {
        variant: [members * STEPS * len(graphs) / seconds for seconds in clock.seconds[variant]]
        for variant, (members, _) in variants.items()
    }
    edges = problem.table.batch(graphs).to_pyg().edge_index.shape[1] / len(graphs)
    return Case(name, edges, rates, memory)


def _peer(problem: Problem) -> Callable[[], None]:
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
    state = initial(problem.layout, problem.buffers, range(size), problem.config, torch.device("cpu"))
    weights = torch.ones(size, len(problem.model.spec.tasks))
    graphs, moments = batches(problem, 0)[0], state.group("optimizer")
    lr = torch.full((size,), 1e-3, dtype=torch.float64)

    def step() -> None:
        _, gradient = losses_and_gradient(problem, state, weights, graphs)
        adam.step(problem.config.optimizer, state["parameters"], gradient, moments, lr)

    return step
