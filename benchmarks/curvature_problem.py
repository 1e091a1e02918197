"""The problem of the curvature benchmark: four tasks on small molecules, learned by the network of New 2022."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import torch

from ensemble_mtl import prepare
from ensemble_mtl.config import StudyConfig
from ensemble_mtl.shard import make_problem
from ensemble_mtl.study import Study
from ensemble_mtl.train.state import StackState, initial
from ensemble_mtl.train.step import Problem

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
    "model": {"trunk": "graph_network", "steps": 5, "width": 64, "heads": [64], "share_weights": False},
    "train": {
        "device": "cpu",
        "epochs": EPOCHS,
        "batch_size": 32,
        "schedule": {"name": "exponential", "gamma": 0.99, "after": 200},
        "test_every": None,
    },
}


def make(folder: Path) -> tuple[Problem, StackState]:
    """The problem, and the network before training."""
    config = {**CONFIG, "data": {**CONFIG["data"], "path": str(write_molecules(folder))}}
    study = Study(StudyConfig.model_validate(config), folder / "study")
    study.root.mkdir(exist_ok=True)
    prepare.prepare(study, lambda done, total: None)
    problem = make_problem(study.config, prepare.load(study, 0), TASKS, 0, 1.0, torch.device("cpu"))
    state = initial(problem.layout, problem.buffers, [0], problem.config, torch.device("cpu"))
    return problem, state


def write_molecules(folder: Path) -> Path:
    """A file of small molecules with four properties that can be learned from their formulas."""
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
