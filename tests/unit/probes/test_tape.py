"""What a tape keeps, and that it can be played again."""

from __future__ import annotations

import torch
from networks import random_like
from tolerances import ROUNDING, close
from torch import Tensor

from ensemble_mtl.probes.tape import Tape

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
    added = [step for step in tape.steps if step.name == "aten.add.Tensor"][-1]
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
