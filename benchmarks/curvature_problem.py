"""The networks of the curvature benchmark: that of New 2022 on molecules, and that of Lupo Pasini 2022 on a lattice."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ensemble_mtl.config.study import StudyConfig
from ensemble_mtl.data import prepare
from ensemble_mtl.study.directory import Study
from ensemble_mtl.train.loop import train_epoch
from ensemble_mtl.train.state import StackState, initial
from ensemble_mtl.train.step import Problem
from ensemble_mtl.worker.problem import make_problem

GRAPHS = 64
EPOCHS = 450
TASKS = ("a", "b", "c", "d")
CHAINS = ("C", "CC", "CCC", "C1CC1", "CC(C)", "C=C")
GROUPS = (
    "O", "N", "F", "C=O", "C#N", "C(=O)O", "C(=O)N", "OC", "NC", "C#C", "C(F)(F)F", "OCC", "N(C)C", "C(=O)C", "CO",
    "CN",
)  # fmt: skip
CONFIG: dict[str, Any] = {
    "name": "benchmark",
    "data": {"name": "smiles", "smiles": "smiles", "targets": dict.fromkeys(TASKS, "")},
    "graph": {"node_features": "one_hot", "elements": "found", "bonds": "found"},
    "tasks": {task: {"target": task} for task in TASKS},
    "split": {"name": "random", "fractions": [0.70, 0.15, 0.15]},
    "normalize": {"method": "standard", "fit_on": "train"},
    "model": {"trunk": {"name": "graph_network", "steps": 5, "width": 64, "share_weights": False}, "heads": [64]},
    "train": {
        "device": "cpu",
        "epochs": EPOCHS,
        "batch_size": 32,
        "schedule": {"name": "exponential", "gamma": 0.99, "after": 200},
        "test_every": None,
    },
}

LATTICE: dict[str, Any] = {
    "name": "benchmark",
    "data": {"name": "alloy", "num_configurations": 800, "supercell": [4, 2, 2]},
    "graph": {"radius": 7.0, "radius_unit": "bohr"},
    "tasks": {
        "H": {"target": "mixing_enthalpy"}, "C": {"target": "charge_transfer"}, "M": {"target": "magnetic_moment"},
    },
    "model": {"trunk": {"conv": "pna", "layers": 6, "width": 20}, "heads": [50, 25]},
    "train": {
        "device": "cpu",
        "epochs": 300,
        "batch_size": 64,
        "schedule": {"name": "exponential", "gamma": 0.98, "after": 100},
        "test_every": None,
    },
}  # fmt: skip


@dataclass
class Network:
    """A network before and after training.

    Attributes:
        title: who published it, and its graphs.
        description: its size and its training.
        tasks: names of its tasks.
        problem: model and data.
        trained: a stack of one member after training.
        untrained: the same member before training.
    """

    title: str
    description: str
    tasks: tuple[str, ...]
    problem: Problem
    trained: StackState
    untrained: StackState


def networks(folder: Path) -> list[Network]:
    """Return both networks, trained; their data are made in ``folder``."""
    molecules, lattice = folder / "molecules", folder / "lattice"
    for data_folder in (molecules, lattice):
        data_folder.mkdir()
    lattice_tasks = tuple(LATTICE["tasks"])
    return [
        _trained("Graph network of New 2022, small molecules", TASKS, *make(molecules)),
        _trained(
            "PNA of Lupo Pasini 2022, FePt's lattice with synthetic values (C and M of each atom)",
            lattice_tasks,
            *_untrained(lattice, LATTICE, lattice_tasks),
            " C and M have 32 labels per graph. The Gauss-Newton part of their curvature is known from draws of signs, "
            "each of which takes a backward pass, so less is gained than where a graph has one label.",
        ),
    ]


def make(folder: Path) -> tuple[Problem, StackState]:
    """Return the network of New 2022 on molecules, before training."""
    return _untrained(folder, {**CONFIG, "data": {**CONFIG["data"], "path": str(write_molecules(folder))}}, TASKS)


def _untrained(folder: Path, config: dict[str, Any], tasks: tuple[str, ...]) -> tuple[Problem, StackState]:
    study = Study(StudyConfig.model_validate(config), folder / "study")
    study.root.mkdir(exist_ok=True)
    prepare.prepare(study, lambda done, total: None)
    problem = make_problem(study.config, prepare.load(study, 0), tasks, 0, 1.0, torch.device("cpu"))
    state = initial(problem.layout, problem.buffers, [0], problem.config, torch.device("cpu"))
    return problem, state


def _trained(title: str, tasks: tuple[str, ...], problem: Problem, state: StackState, remark: str = "") -> Network:
    untrained = StackState({name: values.clone() for name, values in state.tensors.items()}, epoch=0)
    for _ in range(problem.config.epochs):
        train_epoch(problem, state, torch.ones(1, len(tasks)))
    description = (
        f"{len(tasks)} tasks, {problem.layout.num_shared:,} shared parameters, trained for {problem.config.epochs} "
        f"epochs on {len(problem.train)} graphs, curvature on {GRAPHS} of them.{remark}"
    )
    return Network(title, description, tasks, problem, state, untrained)


def write_molecules(folder: Path) -> Path:
    """Write a file of small molecules with four properties that can be learned from their formulas; return its path."""
    molecules = [chain + group for chain, group in itertools.product(CHAINS, GROUPS)]
    lines = ["smiles," + ",".join(TASKS)]
    for smiles in molecules:
        size, polar = len(smiles), smiles.count("O") + smiles.count("N")
        multiple = smiles.count("=") + 0.5 * smiles.count("#")
        values = (math.sin(size), size + 0.3 * polar**2, multiple - 0.2 * polar, polar / size)
        lines.append(smiles + "," + ",".join(f"{value:.6f}" for value in values))
    path = folder / "molecules.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
