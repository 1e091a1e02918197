"""Which values a tape keeps, which steps it has, and how it is replayed."""

from __future__ import annotations

import pytest
import torch
from helpers.networks import NETWORKS, network, random_like, shared
from helpers.stores import STORES
from helpers.tolerances import ROUNDING, close
from torch import Tensor

from ensemble_mtl.curvature import measure
from ensemble_mtl.curvature.forms import tape
from ensemble_mtl.curvature.forms.tape import Tape

POINT = random_like(torch.empty(2, 12, dtype=torch.float64))
ROWS = random_like(torch.empty(2, 5, 4, dtype=torch.float64))


def function(p: Tensor) -> Tensor:
    """A function with a view of parameters, a copy of them, values that a product reads, and values that none does."""
    weight = torch.cat([p[:, 4:], p[:, :4]], dim=1).view(2, 3, 4)
    return torch.tanh((ROWS + p[:, None, :4]) @ weight.mT + 1.0).sum(-1)


def test_forgotten_values_are_freed_and_come_back_in_a_replay():
    tape = Tape(function, POINT)
    products = [step for step in tape.steps if "bmm" in step.name]
    tape.forget(tensor for step in products for tensor in step.inputs)
    (product,) = products
    added = [step for step in tape.steps if step.name == "add.Tensor"][-1]
    assert all(tensor.isfinite().all() for tensor in product.inputs)
    assert added.outputs[0].isnan().all()
    assert added.outputs[0].untyped_storage().nbytes() == added.outputs[0].element_size()
    point = POINT.clone().requires_grad_()
    expected = function(point)
    close(tape.value, expected.detach(), rtol=ROUNDING)
    value, returned = tape.replay(set(), {id(added.outputs[0])})
    close(value.detach(), expected.detach(), rtol=ROUNDING)
    (gradient,) = torch.autograd.grad(value.sum(), list(returned.values()))
    close(gradient, 1 - returned[id(added.outputs[0])].detach().tanh().square(), rtol=ROUNDING)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_work_is_done_that_does_not_reach_the_residuals(name, kind, monkeypatch):
    """Minimum and maximum over neighbours are taken of detached values, only to choose an index."""
    problem, state = network(name, kind, [1, 2])
    v = random_like(shared(problem, state))
    forms = measure.all_forms(problem, state, ["H", "C"], torch.arange(6))
    for _, derivatives in forms._chunks:
        needed = {id(derivatives.tape.value)}
        for step in reversed(derivatives.tape.steps):
            assert needed & set(map(id, step.outputs)), f"nothing needs what {step.name} makes"
            needed.update(map(id, step.inputs))
        assert not {"maximum.default", "minimum.default", "detach.default"} & {
            step.name for step in derivatives.tape.steps
        }
    monkeypatch.setattr(tape, "_steps_that_reach", lambda steps, value: steps)
    everything = measure.all_forms(problem, state, ["H", "C"], torch.arange(6))
    assert torch.equal(forms.quadratic_forms(v), everything.quadratic_forms(v))
    if name == "mfc":  # its products pad the columns of neighbour sums, for each degree that occurs
        assert len(everything._chunks[0][1].tape.steps) > len(forms._chunks[0][1].tape.steps)


def test_what_is_detached_is_a_constant():
    tape = Tape(lambda p: (p * p.detach().exp()).sum(1), POINT)
    assert [step.name for step in tape.steps] == ["mul.Tensor", "sum.dim_IntList"]
