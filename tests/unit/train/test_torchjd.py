"""Combined gradients: those of TorchJD's aggregators, for the shared parameters of each member by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.problems import make, start
from helpers.stores import lattice_store
from helpers.tolerances import ROUNDING, close
from helpers.weightings import needed
from torch import Tensor

from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.train.epoch_weighting import EpochWeighting
from ensemble_mtl.train.loop import batches
from ensemble_mtl.train.loss import task_losses
from ensemble_mtl.train.weighting import torchjd

STORE = lattice_store(13)
TASKS = ("H", "C", "G")
CONFIGURED = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
DOUBLE = torch.float64


def combiner(name: str) -> Any:
    """Return the function that combines gradients by the aggregator ``name``."""
    return torchjd.combiner(TrainConfig(weighting={"name": "torchjd", "aggregator": name}))


AGGREGATORS = [pytest.param(n, marks=needed({"aggregator": n})) for n in ("upgrad", "pcgrad", "mgda", "cagrad")]


def aggregated(name: str, jacobian: Tensor) -> Tensor:
    """Return what torchjd's own aggregator makes of the rows of ``jacobian [T, P]``."""
    from torchjd import aggregation

    class_name = {"upgrad": "UPGrad", "pcgrad": "PCGrad", "mgda": "MGDA", "cagrad": "CAGrad"}[name]
    return getattr(aggregation, class_name)(*([0.5] if name == "cagrad" else []))(jacobian)


@pytest.mark.parametrize("name", AGGREGATORS)
def test_torchjd_combines_the_gradients_of_the_trunk_and_leaves_those_of_the_heads(name):
    problem = make(STORE, TASKS, weighting={"name": "torchjd", "aggregator": name})
    state, graphs = start(problem, [3, 4]), batches(problem, 0)[0]
    flat = state["parameters"].clone().requires_grad_()
    batch = problem.table.batch(graphs)
    outputs = problem.model(
        problem.layout.unflatten(flat), problem.buffers.unflatten(state["buffers"].clone()), batch, training=True
    )
    losses = task_losses(outputs, batch, TASKS)
    jacobian = torch.stack(
        [torch.autograd.grad(losses[:, t].sum(), flat, retain_graph=True)[0] for t in range(3)], dim=1
    )
    gradient = EpochWeighting(problem, state, CONFIGURED).gradient(losses, flat)
    size = problem.layout.num_shared
    for m, learned in enumerate(([0, 1, 2], [0, 2])):
        rows = jacobian[m, learned]
        if name == "pcgrad" and len(learned) == 3:
            continue  # its order is random; that of two has no choice
        unit = rows[:, :size] / rows[:, :size].norm()
        # CAGrad's solver stops at its own tolerance, about 1e-8
        expected = rows[:, :size].norm() * aggregated(name, unit)
        close(gradient[m, :size], expected, rtol=1e-6 if name == "cagrad" else ROUNDING)
        close(gradient[m, size:], rows[:, size:].sum(0), rtol=ROUNDING)


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
def test_small_gradients_are_combined_like_large_ones(name, scale):
    combine = combiner(name)
    jacobian = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    jacobian[2] -= 1.5 * jacobian[0]  # in conflict
    expected = combine(jacobian, 5)
    assert (expected - jacobian.mean(0)).norm() > 1e-3
    close(combine(scale * jacobian, 5) / scale, expected, rtol=1e-6)  # CAGrad's solver


@needed({"aggregator": "pcgrad"})
def test_the_order_of_pcgrad_is_named_and_disturbs_no_other_stream():
    combine = combiner("pcgrad")
    jacobian = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    before = torch.random.get_rng_state()
    pairs = {seed: [combine(jacobian, seed) for _ in range(2)] for seed in range(8)}
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first, second) for first, second in pairs.values())
    assert any(not torch.equal(pairs[0][0], pair[0]) for pair in pairs.values())


@needed({"aggregator": "mgda"})
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite_are_handed_on(value):
    jacobian = torch.ones(2, 3, dtype=DOUBLE)
    jacobian[0, 0] = value
    assert not combiner("mgda")(jacobian, 0).isfinite().all()
