"""How many quadratic forms the trace of a trained network takes, on which the curvature benchmark's times depend."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from helpers.networks import counted, network, shared
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.curvature import measure
from ensemble_mtl.curvature.forms.gradient_norms import GradientNorms
from ensemble_mtl.curvature.forms.quadratic import JetForms
from ensemble_mtl.curvature.sampling import rademacher
from ensemble_mtl.curvature.trace.base import ControlVariate
from ensemble_mtl.curvature.trace.gauss_newton import CHOICE
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem

SAMPLES = 500
"""Number of samples of the published estimate."""
PILOT = 20
"""Default number of samples from which the number of all samples follows."""
FAST = {"optimizer": {"name": "adam", "lr": 1e-2}}


def estimate(problem: Problem, state: StackState, name: str, samples: int, error: float = math.inf) -> Any:
    """The trace of task H, to a standard error of ``error``, or from so many samples."""
    options = {} if math.isinf(error) else {"relative_error": 0.0, "norm_error": error}
    estimator, norm = registry.family("curvature.trace").load(name), torch.ones(1, 1, dtype=torch.float64)
    nothing = ControlVariate(norm.new_zeros(1), norm.new_zeros(1, 0))
    forms = measure.all_forms(problem, state, ["H"], torch.arange(6))
    return estimator.estimate(estimator.Options(**options), vectors(problem, state), samples, forms, [nothing], norm)


def vectors(problem: Problem, state: StackState) -> Iterator[Tensor]:
    generator, point = torch.Generator().manual_seed(5), shared(problem, state)
    for _ in range(SAMPLES):
        yield rademacher(point.shape[1], point, generator)


@pytest.mark.parametrize(("name", "kind"), [("graph_network", "molecules"), ("pna", "periodic")])
def test_a_trained_network_takes_the_least_number_of_forms_and_one_pass(name, kind, monkeypatch):
    """To the error of 500 samples of Hutchinson's estimator. Edges have features here."""
    problem, state = network(name, kind, [1], epochs=200, **FAST)
    forms = counted(monkeypatch, JetForms, "_forms")
    passes = counted(monkeypatch, GradientNorms, "sum_of_squared_norms")
    graph_by_graph = counted(monkeypatch, JetForms, "_trace_graph_by_graph")
    plain = estimate(problem, state, "hutchinson", SAMPLES)
    assert (len(forms), len(passes)) == (SAMPLES, 0)
    forms.clear()
    controlled = estimate(problem, state, "gauss_newton", SAMPLES, float(plain.sem))
    assert controlled.samples.item() == len(forms) == CHOICE + PILOT
    assert (len(passes), len(graph_by_graph)) == (1, 0)
    assert controlled.sem.item() <= plain.sem.item()
    assert abs(controlled.value.item() - plain.value.item()) < 4 * (controlled.sem.item() + plain.sem.item())
