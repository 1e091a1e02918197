"""Products with the Hessian, against dense autograd Hessians in float64."""

from __future__ import annotations

import pytest
import torch
from helpers.networks import dense_hessian, network, shared
from helpers.problems import make, start
from helpers.stores import lattice_store
from helpers.tolerances import DERIVATIVE, ROUNDING, close

from ensemble_mtl.config import registry
from ensemble_mtl.config.sections import ProbeConfig
from ensemble_mtl.curvature import losses as losses_module
from ensemble_mtl.curvature import measure
from ensemble_mtl.curvature.operator import DenseOperator, HessianOperator
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem

GRAPHS = torch.arange(6)


def operator(problem: Problem, state: StackState, task: str):
    """The task's Hessian and its losses.

    Seed 0 is of no use: its small head H is dead, with every bias negative, so that nothing has curvature.
    """
    losses = measure.shared_losses(problem, state, task, GRAPHS)
    return HessianOperator(losses, shared(problem, state)), losses


@pytest.mark.parametrize(("kind", "task"), [("open", "H"), ("periodic", "C"), ("molecules", "H")])
@pytest.mark.parametrize("conv", registry.names("models.conv"))
def test_products_are_those_of_the_dense_hessian(conv, task, kind):
    problem, state = network(conv, kind, [1])
    hessian, (loss,) = operator(problem, state, task)
    dense = dense_hessian(problem, state, task, GRAPHS)
    columns = torch.cat([hessian.matvec(row[None]) for row in torch.eye(len(dense), dtype=torch.float64)[::7]])
    close(columns, dense[::7], rtol=DERIVATIVE)
    gradient = torch.autograd.functional.jacobian(lambda flat: loss(flat[None])[0], shared(problem, state)[0])
    close(hessian.gradient[0], gradient, rtol=ROUNDING)
    assert dense.abs().max() > 1e-3


@pytest.mark.parametrize("conv", registry.names("models.conv"))
def test_members_at_once_equal_one_by_one(conv):
    together, _ = operator(*network(conv, "open", [1, 2, 3]), "H")
    v = torch.randn(together.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    products = together.matvec(v)
    for m in range(3):
        alone, _ = operator(*network(conv, "open", [m + 1]), "H")
        assert torch.equal(products[m : m + 1], alone.matvec(v[m : m + 1]))
        assert torch.equal(together.loss[m : m + 1], alone.loss)


def test_chunks_sum_to_the_whole(monkeypatch):
    whole, _ = operator(*network("pna", "open", [1, 2]), "H")
    monkeypatch.setattr(losses_module, "CHUNK", 4)
    in_chunks, losses = operator(*network("pna", "open", [1, 2]), "H")
    assert len(losses) == 2
    v = torch.ones(whole.shape, dtype=torch.float64)
    close(in_chunks.matvec(v), whole.matvec(v), rtol=DERIVATIVE)
    close(in_chunks.loss, whole.loss, rtol=ROUNDING)
    close(in_chunks.gradient, whole.gradient, rtol=DERIVATIVE)


def test_a_loss_that_differs_from_call_to_call_is_refused():
    def dropout(flat):
        return torch.nn.functional.dropout(flat, 0.5).square().sum(1)

    with pytest.raises(ValueError, match="differs from call to call"):
        HessianOperator([dropout], torch.ones(2, 50))


def test_a_member_whose_loss_is_nan_disturbs_no_other():
    matrices = torch.stack([torch.eye(3), torch.eye(3)]).double()
    point = torch.tensor([[1.0, 2.0, 3.0], [float("nan")] * 3], dtype=torch.float64)
    hessian = HessianOperator([lambda p: (p.square()).square().sum(1)], point)
    product = hessian.matvec(matrices[:, 0])
    close(product[0], torch.tensor([12.0, 0.0, 0.0], dtype=torch.float64), rtol=ROUNDING)
    assert product[1].isnan().any()


def test_a_linear_loss_has_no_curvature():
    linear = HessianOperator([lambda p: 3 * p.sum(1)], torch.ones(2, 4))
    assert not linear.matvec(torch.ones(2, 4)).any()
    partly_linear = HessianOperator([lambda p: p[:, 0] ** 3, lambda p: p[:, 1]], torch.ones(1, 2))
    close(partly_linear.matvec(torch.ones(1, 2)), torch.tensor([[6.0, 0.0]]))


def test_products_leave_the_caller_s_weights_alone():
    point = torch.ones(1, 3)
    HessianOperator([lambda p: p.square().sum(1)], point).matvec(torch.ones(1, 3))
    assert not point.requires_grad
    assert point.grad is None


def test_dense_operator_multiplies():
    generator = torch.Generator().manual_seed(0)
    matrices, v = torch.randn(2, 3, 3, generator=generator), torch.randn(2, 3, generator=generator)
    close(DenseOperator(matrices).matvec(v), torch.stack([a @ b for a, b in zip(matrices, v, strict=True)]))
    assert DenseOperator(matrices).shape == (2, 3)


def test_a_stack_s_measure_equals_each_member_s():
    problem = make(lattice_store(12))
    state = start(problem, [1, 3])
    config = ProbeConfig(graphs=5, trace_samples=4, lanczos_steps=5, lanczos_starts=2)
    of_stack = measure.measure(problem, state, config, ["H", "C"])
    for m in range(2):
        alone = measure.measure(problem, state.take([m]), config, ["H", "C"])[0]
        assert [probe.task for probe in of_stack[m]] == ["H", "C"]
        for probe, expected in zip(of_stack[m], alone, strict=True):
            close(torch.tensor(probe.nodes), torch.tensor(expected.nodes), rtol=1e-8)  # Lanczos amplifies rounding
            assert probe.trace == pytest.approx(expected.trace, rel=1e-10)
            assert probe.trace_sem > 0
            assert probe.eig_min <= probe.eig_max
            assert probe.weights.sum(1) == pytest.approx([1.0, 1.0])
