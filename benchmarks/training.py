"""Training speed of stacks against plain PyG, on the lattice and graph of Lupo Pasini 2022.

32 sites of a BCT lattice, radius 7 bohr without periodic images (206 edges), 6 × 20 PNA, three
heads, batch 64, float32, one thread. Peer: the same architecture from PyG's own layers, as
HydraGNN composes them, on ready PyG batches. All variants take turns in one process; medians of CPU time are compared.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ensemble_mtl import prepare
from ensemble_mtl.config import StudyConfig
from ensemble_mtl.models.reference import reference_model
from ensemble_mtl.provenance import device_name, versions
from ensemble_mtl.shard import make_problem
from ensemble_mtl.study import Study
from ensemble_mtl.train.state import initial
from ensemble_mtl.train.step import Problem, batches, losses_and_gradient

ROUNDS = 7
STACKS = (1, 4, 12)
STEPS = 4

CONFIG = {
    "name": "benchmark",
    "data": {"name": "alloy", "num_configurations": 500, "supercell": (4, 2, 2)},
    "graph": {"radius": 7.0, "radius_unit": "bohr"},
    "tasks": {
        "H": {"target": "mixing_enthalpy"},
        "C": {"target": "charge_transfer"},
        "M": {"target": "magnetic_moment"},
    },
    "train": {"device": "cpu"},
}


def run(rounds: int) -> str:
    """Measure, and return a Markdown table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        study = Study(StudyConfig.model_validate(CONFIG), Path(folder))
        study.root.mkdir(exist_ok=True)
        prepare.prepare(study, lambda done, total: None)
        problem = make_problem(study.config, prepare.load(study, 0), ("H", "C", "M"), 0, 1.0, torch.device("cpu"))
    variants: dict[str, tuple[int, Callable[[], None]]] = {"PyG": (1, _peer(problem))}
    variants |= {f"stack of {size}": (size, _stack(problem, size)) for size in STACKS}
    rates: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, (members, step) in variants.items():
            step()  # after the others it finds cold caches
            started = time.process_time()
            for _ in range(STEPS):
                step()
            seconds = (time.process_time() - started) / STEPS
            rates[name].append(members * problem.config.batch_size / seconds)
    return _table(rates, rounds)


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
    from ensemble_mtl.train.optimizer import adam

    state = initial(problem.layout, problem.buffers, range(size), problem.config, torch.device("cpu"))
    weights = torch.ones(size, len(problem.model.spec.tasks))
    graphs, moments = batches(problem, 0)[0], state.group("optimizer")
    lr = torch.full((size,), 1e-3, dtype=torch.float64)

    def step() -> None:
        _, gradient = losses_and_gradient(problem, state, weights, graphs)
        adam.step(problem.config.optimizer, state["parameters"], gradient, moments, lr)

    return step


def _table(rates: dict[str, list[float]], rounds: int) -> str:
    peer = statistics.median(rates["PyG"])
    software = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [
        "# Training speed",
        "",
        f"Graphs per CPU second × members; medians of {rounds} interleaved rounds, range in brackets. "
        f"{device_name(torch.device('cpu'))}; {software}. FePt's lattice as published (206 edges), 6 × 20 PNA, "
        "heads H, C, M, batch 64, float32. Made by `make bench`.",
        "",
        "| variant | graphs/s × members | ratio to PyG |",
        "|:--|--:|--:|",
    ]
    for name, found in rates.items():
        median = statistics.median(found)
        spread = f"{min(found):,.0f}–{max(found):,.0f}"
        lines.append(f"| {name} | {median:,.0f} ({spread}) | {median / peer:.2f} |")
    return "\n".join(lines) + "\n"
