"""Weightings of the tasks: each against its formula, and what all of them have in common."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.problems import CPU, both, make, start
from helpers.states import assert_same_state
from helpers.stores import lattice_store
from helpers.tolerances import ROUNDING, close
from helpers.weightings import ALL
from torch import Tensor

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import TrainConfig
from ensemble_mtl.curvature import running
from ensemble_mtl.curvature.forms.quadratic import ProductForms
from ensemble_mtl.curvature.operator import DenseOperator
from ensemble_mtl.train import checkpoint
from ensemble_mtl.train.loop import run_epoch, train_epoch
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem, losses_and_gradient

STORE = lattice_store(13)
TASKS = ("H", "C", "G")
CONFIGURED = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0]], dtype=torch.float64)
DOUBLE = torch.float64


def config_of(**weighting: Any) -> TrainConfig:
    return TrainConfig(weighting=weighting)


def module(config: TrainConfig) -> Any:
    return registry.family("train.weighting").load(config.weighting.name)


def tensor(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=DOUBLE)


def trained(problem: Problem, weights: Tensor, epochs: int = 3) -> StackState:
    state = start(problem, list(range(len(weights))))
    for _ in range(epochs):
        run_epoch(problem, state, weights)
    return state


def test_equal_is_fixed_with_weights_of_one():
    equal, fixed = (trained(make(STORE, TASKS, weighting=name), CONFIGURED) for name in ("equal", "fixed"))
    assert_same_state(equal, fixed)


def test_fixed_weighs_the_gradient_by_the_configured_weights():
    problem, graphs = make(STORE), torch.arange(6)
    state = start(problem, [0])
    parts = [losses_and_gradient(problem, state.take([0]), tensor(row), graphs)[1] for row in ([1.0, 0.0], [0.0, 1.0])]
    _, gradient = losses_and_gradient(problem, state.take([0]), tensor([0.5, 3.0]), graphs)
    close(gradient, 0.5 * parts[0] + 3.0 * parts[1], rtol=ROUNDING)


def test_uncertainty_follows_the_gradient_of_its_loss():
    config = config_of(name="uncertainty")
    state = module(config).start(config, 1, 3)
    assert module(config).weights(config, state, CONFIGURED[:1]).tolist() == [[1.0, 1.0, 1.0]]
    state["log_variance"].copy_(tensor([0.0, math.log(2.0), 0.3]))
    close(module(config).weights(config, state, CONFIGURED[:1]), tensor([1.0, 0.5, math.exp(-0.3)]), rtol=ROUNDING)
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
        close(module(config).weights(config, state, CONFIGURED), CONFIGURED, rtol=ROUNDING)
        module(config).epoch(config, state, tensor(losses, losses))
    a, b, c = math.exp(0.5 / 2), math.exp(1.0 / 2), math.exp(1.5 / 2)  # ratios ½, 1 and 1½ at temperature 2
    three, two = 3 / (a + b + c), 2 / (a + c)
    expected = tensor([three * a, three * b, three * c], [two * a, 0.0, two * c])
    close(module(config).weights(config, state, CONFIGURED), expected, rtol=ROUNDING)


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
    close(module(config).weights(config, state, CONFIGURED), CONFIGURED, rtol=ROUNDING)
    module(config).observe(config, state, tensor([4.0, 2.0, -12.0], [4.0, 2.0, -12.0]))
    # 1/4 : 1/2 : 1/12 = 3 : 6 : 1, and 3 : 1 without the second
    expected = tensor([0.9, 1.8, 0.3], [1.5, 0.0, 0.5])
    close(module(config).weights(config, state, CONFIGURED), expected, rtol=ROUNDING)
    root = config_of(name="curvature", power=0.5)
    expected = tensor([0.5, 0.0, math.sqrt(1 / 12)])
    close(module(root).weights(root, state, CONFIGURED)[1:], 2 * expected / expected.sum(), rtol=ROUNDING)


def test_curvature_is_a_running_mean_with_its_sign():
    config = config_of(name="curvature", decay=0.75)
    state = module(config).start(config, 1, 2)
    for estimate in ([8.0, 1.0], [-4.0, float("nan")], [1.0, 5.0]):
        module(config).observe(config, state, tensor(estimate))
    close(state["curvature"], tensor([0.75 * (0.75 * 8 - 0.25 * 4) + 0.25, 2.0]), rtol=ROUNDING)


@pytest.mark.parametrize("estimate", [[0.0, 0.0], [float("nan"), 3.0]])
def test_curvature_that_says_nothing_leaves_the_tasks_equal(estimate):
    config = config_of(name="curvature")
    state = module(config).start(config, 1, 2)
    module(config).observe(config, state, tensor(estimate))
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
    curvature = running.curvature(problem, state)
    assert curvature.isnan().tolist() == [[False, True, False]] * 2


def test_a_trace_that_passes_through_zero_does_not_silence_the_others():
    config = config_of(name="curvature")
    state = module(config).start(config, 1, 2)
    module(config).observe(config, state, tensor([0.0, 5.0]))
    close(module(config).weights(config, state, tensor([1.0, 1.0])), tensor([2000 / 1001, 2 / 1001]), rtol=ROUNDING)


def test_curvature_is_estimated_at_the_epochs_that_are_due():
    problem = make(STORE, weighting={"name": "curvature", "every": 2, "graphs": 4})
    state, weights, changes = start(problem, [0]), both(problem, 1), []
    for _ in range(5):
        before = state["weighting.curvature"].clone()
        report = run_epoch(problem, state, weights)
        has_changed = not torch.equal(before.nan_to_num(), state["weighting.curvature"].nan_to_num())
        assert has_changed == (report.weighting_seconds > 0)
        changes.append(has_changed)
    assert changes == [False, True, False, True, False]
    assert report.weights is not None
    close(report.weights.sum(1), tensor([2.0])[0], rtol=ROUNDING)


@pytest.mark.parametrize("weighting", ALL)
def test_a_member_of_one_task_has_its_configured_weight(weighting):
    configured = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]], dtype=DOUBLE)
    fixed, actual = (trained(make(STORE, TASKS, weighting=name), configured) for name in ("fixed", weighting))
    for name in ("parameters", "buffers", "best.parameters", "best.loss"):
        assert torch.equal(actual[name], fixed[name]), name


@pytest.mark.parametrize("weighting", ALL)
def test_a_task_that_is_not_learned_keeps_its_head(weighting):
    problem = make(STORE, TASKS, weighting=weighting)
    state = trained(problem, CONFIGURED[1:])
    before, after = (problem.layout.unflatten(s["parameters"]) for s in (start(problem, [0]), state))
    for name, value in after.items():
        assert torch.equal(value, before[name]) == name.startswith("heads.C."), name


@pytest.mark.parametrize("weighting", ALL)
def test_the_validation_loss_has_the_configured_weights(weighting):
    problem = make(STORE, TASKS, weighting=weighting)
    weights = torch.tensor([[0.5, 2.0, 1.0]], dtype=DOUBLE)
    state = start(problem, [0])
    for _ in range(2):
        report = run_epoch(problem, state, weights)
        close(report.val_loss, (report.val.mse * weights).sum(1), rtol=ROUNDING)


@pytest.mark.parametrize("weighting", ALL)
def test_resumed_is_uninterrupted(weighting, tmp_path: Path):
    problem = make(STORE, TASKS, weighting=weighting)
    whole, state = trained(problem, CONFIGURED, epochs=5), trained(problem, CONFIGURED, epochs=3)
    for row in range(2):
        path = tmp_path / f"{row}.pt"
        checkpoint.save(path, "m", state.take([row]), {})
        resumed, _ = checkpoint.load(path, "m", CPU)
        for _ in range(2):
            run_epoch(problem, resumed, CONFIGURED[row : row + 1])
        assert_same_state(resumed, whole.take([row]))
