"""Norms of stacks give the numbers of torch's norms, with exact second derivatives."""

from __future__ import annotations

import pytest
import torch
from helpers.tolerances import DERIVATIVE, ROUNDING, close

from ensemble_mtl.models.norm import LAYER_EPSILON, batch_norm, layer_norm

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
        of_member = {key[2:]: value[m].clone() for key, value in {**parameters, **buffers}.items()}
        norm.load_state_dict({**of_member, "num_batches_tracked": torch.tensor(0)})
        norms.append((norm, norm(x[m].flatten(0, 1)).view(4, 5, 2)))
    out = batch_norm(x, parameters, buffers, "n", training=training)
    close(out, torch.stack([expected.detach() for _, expected in norms]), rtol=ROUNDING)
    close(buffers["n.running_mean"], torch.stack([norm.running_mean for norm, _ in norms]), rtol=ROUNDING)
    close(buffers["n.running_var"], torch.stack([norm.running_var for norm, _ in norms]), rtol=ROUNDING)


def test_second_derivatives_are_exact():
    x, parameters, buffers = tensors()
    inputs = (x.requires_grad_(), parameters["n.weight"].requires_grad_(), parameters["n.bias"].requires_grad_())

    def function(x, weight, bias):
        named = {"n.weight": weight, "n.bias": bias}
        return batch_norm(x, named, {k: v.clone() for k, v in buffers.items()}, "n", training=True).tanh()

    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_a_single_value_is_normalised_to_its_shift():
    x, parameters, buffers = tensors()
    out = batch_norm(x[:, :1, :1], parameters, buffers, "n", training=True)
    close(out[:, 0, 0], parameters["n.bias"], rtol=DERIVATIVE)


@pytest.mark.parametrize("shape", [(3, 4, 5, 2), (3, 7, 2), (3, 0, 1, 2)])
def test_layer_norm_is_torch_s(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, parameters, _ = tensors()
    expected = [
        torch.nn.functional.layer_norm(x[m], (2,), parameters["n.weight"][m], parameters["n.bias"][m], LAYER_EPSILON)
        for m in range(3)
    ]
    close(layer_norm(x, parameters, "n"), torch.stack(expected), rtol=DERIVATIVE)  # two features may be nearly equal


def test_second_derivatives_of_layer_norm_are_exact_in_both_modes():
    generator = torch.Generator().manual_seed(2)
    x, weight, bias = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in ((2, 3, 4), (2, 4), (2, 4)))
    inputs = (x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_())

    def function(x, weight, bias):
        return layer_norm(x, {"n.weight": weight, "n.bias": bias}, "n").tanh()

    assert torch.autograd.gradgradcheck(function, inputs, check_fwd_over_rev=True)

    def scalar(x):
        return (function(x, weight, bias) ** 2).sum()

    v = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(scalar(x), x, create_graph=True)
    (expected,) = torch.autograd.grad((gradient * v).sum(), x)
    point = x.detach()
    _, forward = torch.func.jvp(torch.func.jacrev(scalar), (point,), (v,))
    backward = torch.func.grad(lambda p: torch.func.jvp(scalar, (p,), (v,))[1])(point)
    close(forward.detach(), expected, rtol=DERIVATIVE)
    close(backward.detach(), expected, rtol=DERIVATIVE)
