"""What a tape keeps, and that it can be played again."""

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
    """With a view, a copy of parameters, values that are read and values that are not."""
    weight = torch.cat([p[:, 4:], p[:, :4]], dim=1).view(2, 3, 4)
    return torch.tanh((ROWS + p[:, None, :4]) @ weight.mT + 1.0).sum(-1)


def test_values_that_nobody_reads_are_let_go_and_come_back():
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
    value, kept = tape.replay(set(), {id(added.outputs[0])})
    close(value.detach(), expected.detach(), rtol=ROUNDING)
    (found,) = torch.autograd.grad(value.sum(), list(kept.values()))
    close(found, 1 - kept[id(added.outputs[0])].detach().tanh().square(), rtol=ROUNDING)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_work_is_done_that_does_not_reach_the_residuals(name, kind, monkeypatch):
    """Least and greatest neighbours are looked for among detached values, and only choose an index."""
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
    monkeypatch.setattr(tape, "_reaching", lambda steps, value: steps)
    everything = measure.all_forms(problem, state, ["H", "C"], torch.arange(6))
    assert torch.equal(forms.quadratic_forms(v), everything.quadratic_forms(v))
    if name == "mfc":  # a product for each degree that occurs, of which the sums' columns are padded
        assert len(everything._chunks[0][1].tape.steps) > len(forms._chunks[0][1].tape.steps)


def test_what_is_detached_is_a_constant():
    tape = Tape(lambda p: (p * p.detach().exp()).sum(1), POINT)
    assert [step.name for step in tape.steps] == ["mul.Tensor", "sum.dim_IntList"]
