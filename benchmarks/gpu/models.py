"""Small networks of every kind, on a shared lattice and on molecules, in float64: what correctness is checked on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.data import config_of, few, prepared_of
from benchmarks.gpu.part import Setting
from ensemble_mtl.config import registry
from ensemble_mtl.data.prepare import Prepared
from ensemble_mtl.models import kernels
from ensemble_mtl.train.state import StackState, initial
from ensemble_mtl.train.step import Problem
from ensemble_mtl.worker.problem import make_problem

CPU = torch.device("cpu")
GRAPHS, BATCH, SEEDS = 32, 8, (0, 1, 2)
WIDTH, HEADS = 5, [6]
TRAIN = {"dtype": "float64", "batch_size": BATCH, "epochs": 3, "schedule": {"name": "constant"}, "test_every": None,
         # Where a gradient is nothing but rounding, as that of a bias before batch norm, Adam would make steps of it.
         "optimizer": {"name": "adam", "lr": 1e-3, "eps": 1e-3}}  # fmt: skip
NOISE = 0.1


@dataclass(frozen=True)
class Example:
    """One network on some graphs.

    Attributes:
        name: of a row in the table.
        config: sections of the configuration that make it.
        case: whose graphs (:data:`benchmarks.gpu.data.CASES`).
        prepared: a few of them.
    """

    name: str
    config: dict[str, Any]
    case: str
    prepared: Prepared

    def problem(self, setting: Setting, device: torch.device) -> Problem:
        """The training problem on ``device``."""
        config = config_of(setting, self.case, **self.config)
        tasks = tuple(config.tasks)
        return make_problem(config, self.prepared, tasks, 0, 1.0, device)


def examples(setting: Setting) -> Iterator[Example]:
    """Every convolution and trunk on both kinds of graphs."""
    for case, kind in (("fept", "lattice"), ("qm8", "molecules")):
        prepared = few(prepared_of(setting, case), GRAPHS)
        for name, model, uses_edges in _models(with_lengths=case == "fept"):
            graph = {} if case == "fept" or uses_edges else {"graph": {"bonds": None}}
            yield Example(f"{kind}, {name}", {"model": model, "train": TRAIN, "probes": None, **graph}, case, prepared)


def _models(with_lengths: bool) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Name, model section, and whether it uses features of edges."""
    for conv in registry.names("models.conv"):
        uses_edges = bool(registry.family("models.conv").load(conv).EDGE_FEATURES)
        model = {"trunk": {"conv": conv, "layers": 2, "width": WIDTH}, "heads": HEADS}
        yield conv, model, uses_edges
        if with_lengths and uses_edges:
            yield f"{conv} with lengths", {**model, "edge_basis": 3}, True
    for trunk in registry.names("models.trunk"):
        options = registry.family("models.trunk").load(trunk).Options.model_fields
        if "conv" not in options:
            steps = {"steps": 2} if "steps" in options else {}
            yield trunk, {"trunk": {"name": trunk, "width": WIDTH, **steps}, "heads": HEADS}, True


def start(problem: Problem, device: torch.device) -> StackState:
    """Members with the same weights on every device, none of them 0, so that no ReLU stands at its kink."""
    state = initial(problem.layout, problem.buffers, SEEDS, problem.config, device)
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(state["parameters"].shape, generator=generator, dtype=torch.float64)
    state["parameters"].add_(NOISE * noise.to(device))
    return state


def weights(problem: Problem, device: torch.device) -> Tensor:
    """``[M, T]``; the last member learns the first task alone."""
    given = torch.ones(len(SEEDS), len(problem.model.spec.tasks), dtype=torch.float64)
    given[-1, 1:] = 0
    return given.to(device)


@contextmanager
def plain_operations() -> Iterator[None]:
    """Leave the compiled loops: the reference is made of torch's operations, which any machine has."""
    former = kernels.usable
    kernels.usable = lambda x: False
    try:
        yield
    finally:
        kernels.usable = former


def deviation(value: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected entry."""
    value, expected = (tensor.detach().cpu().double() for tensor in (value, expected))
    if value.shape != expected.shape or not bool(value.isfinite().all()):
        return float("inf")
    scale = float(expected.abs().max())
    return float((value - expected).abs().max()) / (scale or 1.0)
