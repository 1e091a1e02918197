"""Batch norm of stacks is torch's, with exact second derivatives."""

from __future__ import annotations

import pytest
import torch
from tolerances import DERIVATIVE, ROUNDING, close

from ensemble_mtl.models.norm import batch_norm

SHAPE = (3, 4, 5, 2)


def tensors(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    parameters = {"n.weight": normal(3, 2), "n.bias": normal(3, 2)}
    buffers = {"n.running_mean": normal(3, 2), "n.running_var": normal(3, 2).exp()}
    return normal(*SHAPE), parameters, buffers


@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_running_statistics_are_torch_s(training):
    x, parameters, buffers = tensors()
    norms = []
    for m in range(3):
        norm = torch.nn.BatchNorm1d(2, dtype=torch.float64).train(training)
        own = {key[2:]: value[m].clone() for key, value in {**parameters, **buffers}.items()}
        norm.load_state_dict({**own, "num_batches_tracked": torch.tensor(0)})
        norms.append((norm, norm(x[m].flatten(0, 1)).view(4, 5, 2)))
    out = batch_norm(x, parameters, buffers, "n", training=training)
    close(out, torch.stack([expected.detach() for _, expected in norms]), rtol=ROUNDING)
    close(buffers["n.running_mean"], torch.stack([norm.running_mean for norm, _ in norms]), rtol=ROUNDING)
    close(buffers["n.running_var"], torch.stack([norm.running_var for norm, _ in norms]), rtol=ROUNDING)


def test_second_derivatives_are_exact():
    x, parameters, buffers = tensors()
    inputs = (x.requires_grad_(), parameters["n.weight"].requires_grad_(), parameters["n.bias"].requires_grad_())

    def function(x, weight, bias):
        own = {"n.weight": weight, "n.bias": bias}
        return batch_norm(x, own, {k: v.clone() for k, v in buffers.items()}, "n", training=True).tanh()

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_a_single_value_is_normalised_to_its_shift():
    x, parameters, buffers = tensors()
    out = batch_norm(x[:, :1, :1], parameters, buffers, "n", training=True)
    close(out[:, 0, 0], parameters["n.bias"], rtol=DERIVATIVE)
