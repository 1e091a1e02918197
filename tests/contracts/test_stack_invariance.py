"""A member is the same, bit for bit, whatever stack it trains in and however it is regrouped."""

from __future__ import annotations

import itertools
from dataclasses import fields

import numpy as np
import pytest
import torch
from helpers.problems import make, start
from helpers.stores import STORES
from helpers.trunks import with_trunk
from helpers.weightings import ALL
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import ProbeConfig
from ensemble_mtl.core.runtime.rounding import elementwise, product
from ensemble_mtl.curvature import lanczos
from ensemble_mtl.curvature.forms.quadratic import ProductForms
from ensemble_mtl.curvature.measure import measure
from ensemble_mtl.curvature.operator import DenseOperator
from ensemble_mtl.curvature.sampling import SampleMean, rademacher
from ensemble_mtl.train.loop import run_epoch
from ensemble_mtl.train.state import StackState, joined
from ensemble_mtl.train.step import Problem, predict

TASKS = ("H", "C", "G")  # two of graphs, one of nodes
MEMBERS, EPOCHS = 12, 2  # of three batches each
BEFORE = [[0], [1, 2], [3, 4, 5, 6, 7, 8, 9, 10, 11]]
AFTER = [[0, 5, 11], [1, 4, 8, 9], [2, 3, 6, 7, 10]]
VARIANTS = {"gatv2": [{"heads": 3}], "gin": [{"train_eps": True}], "pna": [{"scalers": ("identity",)}]}
CONVS = [
    pytest.param({"name": "convolutions", "conv": {"name": name, **options}}, id="-".join([name, *options]))
    for name in registry.names("models.conv")
    for options in ({}, *VARIANTS.get(name, []))
]
TRUNKS = {"graph_network": [{"steps": 2}, {"steps": 2, "share_weights": False}]}
PNA = {"name": "convolutions", "conv": {"name": "pna"}}
ALL_TRUNKS = CONVS + [
    pytest.param({"name": name, **options}, id="-".join([name, *options]))
    for name in registry.names("models.trunk")
    if name != "convolutions"
    for options in TRUNKS.get(name, [{}])
]
SIZES = {
    "odd": {"num_graphs": 23, "width": 11, "batch_size": 7, "pooling": "mean"},
    "even": {"num_graphs": 28, "width": 4, "batch_size": 8, "pooling": "sum"},
    "one": {"num_graphs": 7, "width": 1, "batch_size": 1, "pooling": "mean"},
}


def problem_of(trunk: dict, kind: str, *, num_graphs: int, **options) -> Problem:
    conv = trunk.get("conv", {"name": "pna"})  # what is not the default trunk takes edge features
    uses_edges = "conv" not in trunk or registry.family("models.conv").load(conv["name"]).EDGE_FEATURES
    edges = 3 if kind != "open" and uses_edges else 0
    problem = make(STORES[kind](num_graphs), TASKS, conv=conv, edge_features=edges, **options)
    return problem if "conv" in trunk else with_trunk(problem, width=options["width"], **trunk)


def weights_of(members: list[int], problem: Problem) -> Tensor:
    """Every member its own; each fourth does not learn the first task."""
    rows = [[float(m % 4 != 0), 1.0, 0.3 * m + 0.1] for m in members]
    return torch.tensor(rows, dtype=getattr(torch, problem.config.dtype))


def train(problem: Problem, state: StackState, members: list[int], epochs: int) -> list[Tensor]:
    """Losses ``[M, …]`` of each epoch."""
    found = []
    for _ in range(epochs):
        report = run_epoch(problem, state, weights_of(members, problem))
        found += [*report.train, *report.val, report.val_loss, report.lr]
    return found


def regrouped(problem: Problem) -> tuple[dict[int, StackState], list[Tensor]]:
    """All members, trained in stacks that change halfway; the last losses in order of member."""
    states, losses = {}, {}
    for members in BEFORE:
        state = start(problem, members)
        train(problem, state, members, EPOCHS // 2)
        states |= {m: state.take([row]) for row, m in enumerate(members)}
    for members in AFTER:
        state = joined([states[m] for m in members])
        found = train(problem, state, members, EPOCHS - EPOCHS // 2)
        for row, m in enumerate(members):
            states[m], losses[m] = state.take([row]), [values[row] for values in found]
    return states, [torch.stack(values) for values in zip(*(losses[m] for m in range(MEMBERS)), strict=True)]


def assert_trains_alike(problem: Problem) -> None:
    everyone = list(range(MEMBERS))
    whole = start(problem, everyone)
    expected = train(problem, whole, everyone, EPOCHS)
    states, losses = regrouped(problem)
    for found, wanted in zip(losses, expected[-len(losses) :], strict=True):
        assert torch.equal(found, wanted)
    predicted = predict(problem, whole["parameters"], whole["buffers"], problem.val)
    for m, state in states.items():
        for name in set(whole.tensors) - {"seconds", "stack_seconds"}:
            assert torch.equal(state[name][0], whole[name][m]), f"{name} of member {m}"
        own = predict(problem, state["parameters"], state["buffers"], problem.val)
        for task, values in predicted.items():
            assert torch.equal(own[task][0], values[m]), f"{task} of member {m}"
    assert whole["parameters"].isfinite().all()


CASES = [
    (kind, size, ("float32", "float64")[(i + j) % 2])
    for (i, kind), (j, size) in itertools.product(enumerate(STORES), enumerate(SIZES))
]
"""Every kind of graphs with every size, and each of both in either precision."""


@pytest.mark.parametrize(("kind", "size", "dtype"), CASES)
@pytest.mark.parametrize("trunk", ALL_TRUNKS)
def test_training(trunk, kind, size, dtype):
    assert_trains_alike(problem_of(trunk, kind, dtype=dtype, **SIZES[size]))


@pytest.mark.parametrize("optimizer", registry.names("train.optimizer"))
@pytest.mark.parametrize("schedule", registry.names("train.schedule"))
def test_training_by_every_optimizer_and_schedule(optimizer, schedule):
    options = {"name": optimizer, "lr": 0.02, "weight_decay": 0.01}
    patient = {"patience": 1} if schedule == "plateau" else {}
    train = {"optimizer": options, "schedule": {"name": schedule, **patient}, "epochs": EPOCHS}
    assert_trains_alike(problem_of(PNA, "molecules", dtype="float32", **SIZES["odd"], **train))


@pytest.mark.parametrize("weighting", ALL)
def test_training_by_every_weighting(weighting):
    problem = problem_of(PNA, "molecules", dtype="float32", weighting=weighting, **SIZES["odd"])
    assert_trains_alike(problem)


ESTIMATORS = {
    "float32": {"trace": "deflated", "density": {"name": "deflated", "steps": 3}},
    "float64": {"trace": "gauss_newton", "density": "quadrature"},
}


@pytest.mark.parametrize(("kind", "dtype"), list(zip(STORES, itertools.cycle(ESTIMATORS), strict=False)))
@pytest.mark.parametrize("trunk", ALL_TRUNKS)
def test_probes(trunk, kind, dtype):
    """Of every trunk on every kind of graphs, and in either precision with its estimators."""
    problem = problem_of(trunk, kind, dtype=dtype, **SIZES["odd"])
    estimators = ESTIMATORS[dtype]
    config = ProbeConfig(graphs=11, trace_samples=12, lanczos_steps=4, lanczos_starts=2, **estimators)
    members = [0, 1, 2, 3, 4]
    stacked = start(problem, members)
    train(problem, stacked, members, 1)
    expected = measure(problem, stacked, config, ["H", "C"])
    for rows in ([3], [2, 4, 0]):
        found = measure(problem, stacked.take(rows), config, ["H", "C"])
        for row, results in zip(rows, found, strict=True):
            for ours, theirs in zip(results, expected[row], strict=True):
                for name in {field.name for field in fields(ours)} - {"seconds", "trace_seconds"}:
                    np.testing.assert_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1, 2, 7, 33])
def test_estimators_on_matrices(size, dtype):
    matrices = torch.randn(5, size, size, generator=torch.Generator().manual_seed(1), dtype=dtype)
    matrices = matrices + matrices.mT

    def estimates(some: Tensor) -> list[Tensor]:
        operator, generator = DenseOperator(some), torch.Generator().manual_seed(2)
        forms = ProductForms([operator])
        vectors = [rademacher(size, operator, generator) for _ in range(17)]
        trace = SampleMean(torch.stack([forms.quadratic_forms(v)[0] for v in vectors], dim=1))
        density = lanczos.density(operator, 9, 2, generator)
        return [trace.samples, trace.mean, trace.sem, density.nodes, density.weights, density.orthogonality]

    expected = estimates(matrices)
    for rows in ([0], [4], [1, 2], [3, 0, 4]):
        for found, wanted in zip(estimates(matrices[rows]), expected, strict=True):
            assert torch.equal(found.nan_to_num(nan=-1.0), wanted[rows].nan_to_num(nan=-1.0))


LENGTHS = (1, 2, 3, 5, 8, 20, 33, 130)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", LENGTHS)
def test_products_and_their_derivatives(rows, dtype):
    """At every place in a stack, whose matrices begin at every place in memory."""
    generator = torch.Generator().manual_seed(rows)
    for terms in LENGTHS:
        for columns in LENGTHS:
            a = torch.randn(5, rows, terms, generator=generator, dtype=dtype)
            b = torch.randn(5, columns, terms, generator=generator, dtype=dtype).mT
            cotangent = torch.randn(5, rows, columns, generator=generator, dtype=dtype)
            expected = _with_gradients(a, b, cotangent)
            for some in ([0], [1], [4], [2, 3], [4, 0, 1]):
                found = _with_gradients(a[some], b[some], cotangent[some])
                for ours, theirs in zip(found, expected, strict=True):
                    assert torch.equal(ours, theirs[some]), (rows, terms, columns)


def _with_gradients(a: Tensor, b: Tensor, cotangent: Tensor) -> list[Tensor]:
    inputs = (a.clone().requires_grad_(), b.clone().requires_grad_())
    out = product(*inputs)
    return [out.detach(), *torch.autograd.grad(out, inputs, cotangent)]


def test_shared_factor_counts_for_every_member():
    a, b = torch.randn(1, 1, 4, dtype=torch.float64), torch.randn(3, 4, 1, dtype=torch.float64)
    torch.testing.assert_close(product(a, b), a @ b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("function", [torch.sigmoid, torch.nn.functional.softplus])
@pytest.mark.parametrize("size", [1, 5, 64, 130])
def test_elementwise_functions_and_their_derivatives(size, function, dtype):
    x = torch.randn(5, size, 3, generator=torch.Generator().manual_seed(size), dtype=dtype)

    def values(some: Tensor) -> list[Tensor]:
        leaf = some.clone().requires_grad_()
        out = elementwise(function, leaf)
        (gradient,) = torch.autograd.grad((out * some).sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad((gradient * some).sum(), leaf)
        return [out.detach(), gradient.detach(), second]

    expected = values(x)
    torch.testing.assert_close(expected[0], function(x))
    for rows in ([0], [1], [4], [2, 3], [4, 0, 1]):
        for found, wanted in zip(values(x[rows]), expected, strict=True):
            assert torch.equal(found, wanted[rows])
