"""Weightings of the tasks: each against its formula, and what all of them have in common."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.problems import CPU, both, make, start
from helpers.stores import lattice_store
from helpers.tolerances import ROUNDING, close
from helpers.weightings import ALL, needed
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.curvature import running
from ensemble_mtl.curvature.forms.quadratic import ProductForms
from ensemble_mtl.curvature.operator import DenseOperator
from ensemble_mtl.train import checkpoint
from ensemble_mtl.train.loop import run_epoch
from ensemble_mtl.train.loss import task_losses
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem, batches, losses_and_gradient, train_epoch
from ensemble_mtl.train.weighted import Weighted

STORE = lattice_store(13)
TASKS = ("H", "C", "G")
GIVEN = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
DOUBLE = torch.float64


def config_of(**weighting: Any) -> TrainConfig:
    return TrainConfig(weighting=weighting)


def module(config: TrainConfig) -> Any:
    return registry.load("train.weighting", config.weighting.name)


def tensor(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=DOUBLE)


def trained(problem: Problem, weights: Tensor, epochs: int = 3) -> StackState:
    state = start(problem, list(range(len(weights))))
    for _ in range(epochs):
        run_epoch(problem, state, weights)
    return state


def assert_same(found: StackState, expected: StackState) -> None:
    assert found.tensors.keys() == expected.tensors.keys()
    for name in found.tensors.keys() - {"seconds", "stack_seconds"}:
        assert torch.equal(found[name], expected[name]), name


def test_equal_is_fixed_with_weights_of_one():
    equal, fixed = (trained(make(STORE, TASKS, weighting=name), GIVEN) for name in ("equal", "fixed"))
    assert_same(equal, fixed)


def test_fixed_weighs_the_gradient_by_what_is_given():
    problem, graphs = make(STORE), torch.arange(6)
    state = start(problem, [0])
    parts = [losses_and_gradient(problem, state.take([0]), tensor(row), graphs)[1] for row in ([1.0, 0.0], [0.0, 1.0])]
    _, found = losses_and_gradient(problem, state.take([0]), tensor([0.5, 3.0]), graphs)
    close(found, 0.5 * parts[0] + 3.0 * parts[1], rtol=ROUNDING)


def test_uncertainty_follows_the_gradient_of_its_loss():
    config = config_of(name="uncertainty")
    state = module(config).start(config, 1, 3)
    assert module(config).weights(config, state, GIVEN[:1]).tolist() == [[1.0, 1.0, 1.0]]
    state["log_variance"].copy_(tensor([0.0, math.log(2.0), 0.3]))
    close(module(config).weights(config, state, GIVEN[:1]), tensor([1.0, 0.5, math.exp(-0.3)]), rtol=ROUNDING)
    losses, labelled = tensor([0.25, 3.0, 7.0]), torch.tensor([True, True, False])
    module(config).step(config, state, losses, labelled, torch.tensor([0.01], dtype=DOUBLE))
    # d/ds exp(−s) L + s = 1 − exp(−s) L; the third task had no label; Adam's first moment is a tenth of it
    close(state["optimizer.first"], 0.1 * tensor([0.75, -0.5, 0.0]), rtol=ROUNDING)
    close(state["log_variance"], tensor([-0.01, math.log(2.0) + 0.01, 0.3]), rtol=1e-7)  # Adam's eps


def test_log_variances_have_their_own_learning_rate_and_no_decay():
    config = TrainConfig(
        weighting={"name": "uncertainty", "lr": 0.5}, optimizer={"name": "adamw", "lr": 0.1, "weight_decay": 0.9}
    )
    state = module(config).start(config, 1, 1)
    state["log_variance"].fill_(-1.0)
    module(config).step(config, state, tensor([0.0]), torch.tensor([True]), torch.tensor([0.1], dtype=DOUBLE))
    close(state["log_variance"], tensor([-1.5]), rtol=1e-7)  # Adam's eps


def test_dwa_weighs_by_how_slowly_the_losses_fell():
    config = config_of(name="dwa")
    state = module(config).start(config, 2, 3)
    for losses in ([4.0, 8.0, 2.0], [2.0, 8.0, 3.0]):
        close(module(config).weights(config, state, GIVEN), GIVEN, rtol=ROUNDING)
        module(config).epoch(config, state, tensor(losses, losses))
    a, b, c = math.exp(0.5 / 2), math.exp(1.0 / 2), math.exp(1.5 / 2)  # ratios ½, 1 and 1½ at temperature 2
    three, two = 3 / (a + b + c), 2 / (a + c)
    expected = tensor([three * a, three * b, three * c], [two * a, 0.0, two * c])
    close(module(config).weights(config, state, GIVEN), expected, rtol=ROUNDING)


def test_dwa_takes_the_mean_losses_of_the_training():
    problem = make(STORE, weighting="dwa")
    state = start(problem, [0])
    first, second = (train_epoch(problem, state, both(problem, 1)).mse for _ in range(2))
    assert torch.equal(state["weighting.before"], first)
    assert torch.equal(state["weighting.last"], second)


DIAGONALS = tensor([4.0, 1.0, -1.0], [1.0, 0.5, 0.5], [-8.0, -4.0, 0.0])
"""Hessians of three quadratic losses: traces 4, 2 and −12, largest eigenvalues 4, 1 and −8."""


def quadratic(monkeypatch: pytest.MonkeyPatch, config: TrainConfig) -> tuple[Any, Any]:
    """A problem whose losses are ½ θᵀ diag(d) θ, with one head parameter, and two members."""

    def hessian(problem: Any, state: Any, task: str, graphs: Any) -> DenseOperator:
        return DenseOperator(DIAGONALS[TASKS.index(task)].diag().expand(2, 3, 3))

    def all_forms(*arguments: Any) -> ProductForms:
        return ProductForms([hessian(*arguments[:2], task, None) for task in TASKS])

    def has_labels(*arguments: Any) -> bool:
        return True

    for function in (hessian, all_forms, has_labels):
        monkeypatch.setattr(running, function.__name__, function)
    spec = SimpleNamespace(tasks=TASKS)
    problem = SimpleNamespace(
        layout=SimpleNamespace(num_shared=3), model=SimpleNamespace(spec=spec), train=torch.arange(9),
        stream="test", config=config,
    )  # fmt: skip
    return problem, StackState({"parameters": torch.ones(2, 4, dtype=DOUBLE)}, epoch=1)


@pytest.mark.parametrize(("of", "expected"), [("trace", [4.0, 2.0, -12.0]), ("eigenvalue", [4.0, 1.0, -8.0])])
def test_curvature_is_that_of_quadratics(monkeypatch, of, expected):
    problem, state = quadratic(monkeypatch, config_of(name="curvature", of=of))
    # signs are exact on diagonal matrices, and as many steps of Lanczos as there are parameters
    close(running.curvature(problem, state), tensor(expected, expected), rtol=ROUNDING)


def test_weights_are_inverse_to_the_curvature():
    config = config_of(name="curvature")
    state = module(config).start(config, 2, 3)
    close(module(config).weights(config, state, GIVEN), GIVEN, rtol=ROUNDING)
    module(config).observe(config, state, tensor([4.0, 2.0, -12.0], [4.0, 2.0, -12.0]))
    # 1/4 : 1/2 : 1/12 = 3 : 6 : 1, and 3 : 1 without the second
    expected = tensor([0.9, 1.8, 0.3], [1.5, 0.0, 0.5])
    close(module(config).weights(config, state, GIVEN), expected, rtol=ROUNDING)
    root = config_of(name="curvature", power=0.5)
    expected = tensor([0.5, 0.0, math.sqrt(1 / 12)])
    found = module(root).weights(root, state, GIVEN)[1:]
    close(found, 2 * expected / expected.sum(), rtol=ROUNDING)


def test_curvature_is_a_running_mean_with_its_sign():
    config = config_of(name="curvature", decay=0.75)
    state = module(config).start(config, 1, 2)
    for seen in ([8.0, 1.0], [-4.0, float("nan")], [1.0, 5.0]):
        module(config).observe(config, state, tensor(seen))
    close(state["curvature"], tensor([0.75 * (0.75 * 8 - 0.25 * 4) + 0.25, 2.0]), rtol=ROUNDING)


@pytest.mark.parametrize("seen", [[0.0, 0.0], [float("nan"), 3.0]])
def test_curvature_that_says_nothing_leaves_the_tasks_equal(seen):
    config = config_of(name="curvature")
    state = module(config).start(config, 1, 2)
    module(config).observe(config, state, tensor(seen))
    close(module(config).weights(config, state, tensor([1.0, 1.0])), tensor([1.0, 1.0]), rtol=ROUNDING)


def test_a_task_of_unknown_curvature_stands_in_the_middle():
    config = config_of(name="curvature")
    state = module(config).start(config, 1, 3)
    module(config).observe(config, state, tensor([float("nan"), 4.0, -1.0]))
    expected = tensor([2.0, 1.0, 4.0]) * 3 / 7  # 1/2 : 1/4 : 1
    close(module(config).weights(config, state, tensor([1.0, 1.0, 1.0])), expected, rtol=ROUNDING)


def test_a_task_without_labels_has_no_curvature(monkeypatch):
    problem, state = quadratic(monkeypatch, config_of(name="curvature"))
    monkeypatch.setattr(running, "has_labels", lambda problem, task, graphs: task != TASKS[1])
    found = running.curvature(problem, state)
    assert found.isnan().tolist() == [[False, True, False]] * 2


def test_a_trace_that_passes_through_zero_does_not_silence_the_others():
    config = config_of(name="curvature")
    state = module(config).start(config, 1, 2)
    module(config).observe(config, state, tensor([0.0, 5.0]))
    close(module(config).weights(config, state, tensor([1.0, 1.0])), tensor([2000 / 1001, 2 / 1001]), rtol=ROUNDING)


def test_curvature_is_estimated_at_the_epochs_that_are_due():
    problem = make(STORE, weighting={"name": "curvature", "every": 2, "graphs": 4})
    state, weights, seen = start(problem, [0]), both(problem, 1), []
    for _ in range(5):
        before = state["weighting.curvature"].clone()
        report = run_epoch(problem, state, weights)
        changed = not torch.equal(before.nan_to_num(), state["weighting.curvature"].nan_to_num())
        assert changed == (report.weighting_seconds > 0)
        seen.append(changed)
    assert seen == [False, True, False, True, False]
    assert report.weights is not None
    close(report.weights.sum(1), tensor([2.0])[0], rtol=ROUNDING)


AGGREGATORS = [pytest.param(n, marks=needed({"aggregator": n})) for n in ("upgrad", "pcgrad", "mgda", "cagrad")]


def aggregated(name: str, jacobian: Tensor) -> Tensor:
    from torchjd import aggregation

    make_one = {"upgrad": "UPGrad", "pcgrad": "PCGrad", "mgda": "MGDA", "cagrad": "CAGrad"}[name]
    return getattr(aggregation, make_one)(*([0.5] if name == "cagrad" else []))(jacobian)


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
    weighted = Weighted(problem, state, GIVEN)
    found = weighted.gradient(losses, flat)
    size = problem.layout.num_shared
    for m, learned in enumerate(([0, 1, 2], [0, 2])):
        own = jacobian[m, learned]
        if name == "pcgrad" and len(learned) == 3:
            continue  # its order is random; that of two has no choice
        unit = own[:, :size] / own[:, :size].norm()
        # CAGrad's solver stops at its own tolerance, about 1e-8
        expected = own[:, :size].norm() * aggregated(name, unit)
        close(found[m, :size], expected, rtol=1e-6 if name == "cagrad" else ROUNDING)
        close(found[m, size:], own[:, size:].sum(0), rtol=ROUNDING)


@pytest.mark.parametrize("name", AGGREGATORS)
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
def test_small_gradients_are_combined_like_large_ones(name, scale):
    config = config_of(name="torchjd", aggregator=name)
    combine = module(config).combiner(config)
    jacobian = torch.randn(3, 7, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    jacobian[2] -= 1.5 * jacobian[0]  # in conflict
    expected = combine(jacobian, 5)
    assert (expected - jacobian.mean(0)).norm() > 1e-3
    close(combine(scale * jacobian, 5) / scale, expected, rtol=1e-6)  # CAGrad's solver


@needed({"aggregator": "pcgrad"})
def test_the_order_of_pcgrad_is_named_and_disturbs_no_other_stream():
    config = config_of(name="torchjd", aggregator="pcgrad")
    combine = module(config).combiner(config)
    jacobian = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    before = torch.random.get_rng_state()
    found = {seed: [combine(jacobian, seed) for _ in range(2)] for seed in range(8)}
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first, again) for first, again in found.values())
    assert any(not torch.equal(found[0][0], other[0]) for other in found.values())


@needed({"aggregator": "mgda"})
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gradients_that_are_not_finite_are_handed_on(value):
    config = config_of(name="torchjd", aggregator="mgda")
    jacobian = torch.ones(2, 3, dtype=DOUBLE)
    jacobian[0, 0] = value
    assert not module(config).combiner(config)(jacobian, 0).isfinite().all()


@pytest.mark.parametrize("weighting", ALL)
def test_a_member_of_one_task_is_weighed_as_given(weighting):
    given = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]], dtype=DOUBLE)
    fixed, own = (trained(make(STORE, TASKS, weighting=name), given) for name in ("fixed", weighting))
    for name in ("parameters", "buffers", "best.parameters", "best.loss"):
        assert torch.equal(own[name], fixed[name]), name


@pytest.mark.parametrize("weighting", ALL)
def test_a_task_that_is_not_learned_keeps_its_head(weighting):
    problem = make(STORE, TASKS, weighting=weighting)
    state = trained(problem, GIVEN[1:])
    before, after = (problem.layout.unflatten(s["parameters"]) for s in (start(problem, [0]), state))
    for name, value in after.items():
        assert torch.equal(value, before[name]) == name.startswith("heads.C."), name


@pytest.mark.parametrize("weighting", ALL)
def test_the_validation_loss_is_weighted_as_given(weighting):
    problem = make(STORE, TASKS, weighting=weighting)
    weights = torch.tensor([[0.5, 2.0, 1.0]], dtype=DOUBLE)
    state = start(problem, [0])
    for _ in range(2):
        report = run_epoch(problem, state, weights)
        close(report.val_loss, (report.val.mse * weights).sum(1), rtol=ROUNDING)


@pytest.mark.parametrize("weighting", ALL)
def test_resumed_is_uninterrupted(weighting, tmp_path: Path):
    problem = make(STORE, TASKS, weighting=weighting)
    whole, state = trained(problem, GIVEN, epochs=5), trained(problem, GIVEN, epochs=3)
    for row in range(2):
        path = tmp_path / f"{row}.pt"
        checkpoint.save(path, "m", state.take([row]), {})
        resumed, _ = checkpoint.load(path, "m", CPU)
        for _ in range(2):
            run_epoch(problem, resumed, GIVEN[row : row + 1])
        assert_same(resumed, whole.take([row]))
