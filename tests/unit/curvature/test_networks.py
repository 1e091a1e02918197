"""Probes of small networks of every trunk and convolution, against their dense Hessians in float64."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from itertools import cycle

import numpy as np
import pytest
import torch
from helpers.networks import NETWORKS, dense_hessian, network, shared
from helpers.tolerances import DERIVATIVE, ROUNDING, close
from scipy import stats
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import ProbeConfig
from ensemble_mtl.curvature import measure
from ensemble_mtl.curvature.operator import HessianOperator
from ensemble_mtl.curvature.pairs import wasserstein
from ensemble_mtl.study.results import MemberResult, ProbeResult, read, write
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem

GRAPHS = 5
DEFLATED = {"trace": "deflated", "density": "deflated", "lanczos_starts": 3}
ESTIMATORS = [
    {"trace": trace, "density": density, "lanczos_starts": 3}
    for trace, density in zip(
        registry.names("curvature.trace"), cycle(registry.names("curvature.density")), strict=False
    )
]
PROBES = [
    pytest.param(conv, names, id=f"{conv} {names['trace']} {names['density']}")
    for conv in NETWORKS
    for names in ESTIMATORS
    if names["trace"] == "gauss_newton" or conv in ("gin", "graph_network")
]
"""``gauss_newton`` takes the forms that the other estimators take, and more; so they need not meet every network."""


@cache
def member(conv: str, kind: str = "molecules") -> tuple[Problem, StackState]:
    return network(conv, kind, [1], width=3)


@cache
def dense(conv: str, task: str, kind: str = "molecules") -> Tensor:
    """``[P, P]`` Hessian of the loss of :func:`member` on the probe set."""
    problem, state = member(conv, kind)
    return dense_hessian(problem, state, task, measure.probe_set(problem, GRAPHS))


def test_the_dense_hessian_is_autograd_s():
    problem, state = member("gin")
    (loss,) = measure.shared_losses(problem, state, "C", measure.probe_set(problem, GRAPHS))
    expected = torch.autograd.functional.hessian(lambda flat: loss(flat[None])[0], shared(problem, state)[0])
    close(dense("gin", "C"), expected, rtol=ROUNDING)


@pytest.mark.parametrize(("conv", "estimators"), PROBES)
def test_probes_are_those_of_the_dense_hessian(conv, estimators):
    problem, state = member(conv)
    if estimators["density"] == "deflated":
        estimators = {**estimators, "density": {"name": "deflated", "steps": 20}}  # of 40, for speed
    config = ProbeConfig(graphs=GRAPHS, lanczos_steps=30, trace_samples=60, **estimators)
    (probes,) = measure.measure(problem, state, config, ["H", "C"])
    for probe in probes:
        exact = dense(conv, probe.task)
        values = torch.linalg.eigvalsh(exact).numpy()
        half_width = stats.t.ppf(0.99995, probe.trace_degrees) * probe.trace_sem
        assert abs(probe.trace - values.sum()) < half_width  # an interval of 99.99 %
        assert probe.eig_max == pytest.approx(values[-1], rel=1e-4)
        assert values[0] - 1e-9 <= probe.eig_min <= 0.5 * values[0] or values[0] > -1e-3 * values[-1]
        norm = np.linalg.norm(values)
        for end, error in ((probe.eig_min, probe.eig_min_error), (probe.eig_max, probe.eig_max_error)):
            assert np.abs(values - end).min() <= error + 1e-9 * norm
        half_width = stats.t.ppf(0.99995, len(probe.frobenius_runs) - 1) * probe.frobenius_sem
        assert abs(probe.frobenius - norm) < half_width + 1e-6 * norm
        largest = values[np.argsort(-np.abs(values))][: len(probe.eigenvalues)]
        assert len(probe.eigenvalues) > 0
        for value, residual, expected in zip(probe.eigenvalues, probe.residuals, largest, strict=True):
            assert abs(value - expected) <= residual + 1e-9 * norm


@pytest.mark.parametrize("conv", NETWORKS)
def test_the_deflated_density_is_near_the_exact_one(conv):
    problem, state = member(conv)
    ((probe,),) = measure.measure(problem, state, ProbeConfig(graphs=GRAPHS, lanczos_steps=40, **DEFLATED), ["H"])
    values = torch.linalg.eigvalsh(dense(conv, "H")).numpy()
    present = probe.weights > 0
    nodes, weights = probe.nodes[present], probe.weights[present] / 3
    error = wasserstein(nodes, weights, values, np.full(len(values), 1 / len(values)))
    assert error < 0.1 * np.abs(values).mean()


@pytest.mark.parametrize("conv", ["pna", "graph_network"])
def test_pairs_are_those_of_the_dense_hessians(conv):
    problem, state = member(conv)
    config = ProbeConfig(graphs=GRAPHS, lanczos_steps=60, leading=3, **DEFLATED)
    ((of_h, of_c),) = measure.measure(problem, state, config, ["H", "C"])
    pair = of_h.pairs["C"]
    assert pair == of_c.pairs["H"]
    vectors, gradients = [], []
    for task in ("H", "C"):
        values, columns = torch.linalg.eigh(dense(conv, task))
        vectors.append(columns[:, values.abs().argsort(descending=True)[:3]])
        operator = HessianOperator(
            measure.shared_losses(problem, state, task, measure.probe_set(problem, GRAPHS)), shared(problem, state)
        )
        gradients.append(operator.gradient[0])
    expected = (vectors[0].T @ vectors[1]).square().sum() / 3
    assert pair["eigenvector_overlap"] == pytest.approx(expected.item(), rel=1e-3)
    cosine = torch.nn.functional.cosine_similarity(*gradients, dim=0)
    assert pair["gradient_cosine"] == pytest.approx(cosine.item(), rel=1e-9)
    assert pair["wasserstein"] > 0
    assert 0 <= pair["energy_wasserstein"] <= 2


def test_the_same_vectors_serve_all_tasks_and_members():
    """Differences between tasks then have a smaller error than the traces themselves."""
    problem, state = member("gin")
    config = ProbeConfig(graphs=GRAPHS, lanczos_steps=4, trace_samples=20)
    alone = measure.measure(problem, state, config, ["C"])[0][0]
    both = measure.measure(problem, state, config, ["H", "C"])[0][1]
    assert both.trace == pytest.approx(alone.trace, rel=DERIVATIVE)
    np.testing.assert_array_equal(both.nodes, alone.nodes)


def test_results_go_through_files(tmp_path):
    problem, state = member("gin")
    (probes,) = measure.measure(problem, state, ProbeConfig(graphs=GRAPHS, lanczos_steps=3), ["H", "C"])
    broken = replace(probes[0], pairs={"C": {"gradient_cosine": float("nan")}}, frobenius=float("inf"))
    numbers = dict.fromkeys(["epochs", "best_epoch", "train_seconds", "stack_seconds", "stack_size"], 1)
    texts = {"device": "CPU", "dtype": "float64", "data_sha256": "", "stopped_early": False}
    result = MemberResult(
        member={},
        metrics={},
        units={},
        num_parameters={},
        versions={},
        probes=[*probes, broken],
        stack_id="",
        **numbers,
        **texts,
    )
    write(tmp_path, result)
    loaded = read(tmp_path).probes
    for value, written in zip(loaded[:2], probes, strict=True):
        for field in fields(ProbeResult):
            expected = getattr(written, field.name)
            if field.name == "frobenius_sem":  # infinite for a single run, which JSON cannot say
                expected = float("nan")
            np.testing.assert_equal(getattr(value, field.name), expected)
    assert np.isnan(loaded[2].pairs["C"]["gradient_cosine"])
    assert np.isnan(loaded[2].frobenius)


def test_products_agree_with_double_backward_written_out():
    problem, state = member("gin")
    point = shared(problem, state)
    (loss,) = measure.shared_losses(problem, state, "C", measure.probe_set(problem, GRAPHS))
    block = torch.randn(1, 4, point.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    products = HessianOperator([loss], point).matmat(block)
    close(products[0], block[0] @ dense("gin", "C"), rtol=DERIVATIVE)
