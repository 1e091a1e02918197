"""Compiled loops give the numbers of torch's operations, and the same derivatives."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers.stores import STORES, table
from helpers.tolerances import DERIVATIVE, ROUNDING, close
from torch import Tensor

from ensemble_mtl.curvature.forms.tape import Tape
from ensemble_mtl.data.topology import Topology
from ensemble_mtl.models import kernels, norm
from ensemble_mtl.models.conv import pna
from ensemble_mtl.models.kernels import norm_loops, pna_loops

MEMBERS = 3


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def setting(kind: str, of_edges: bool, dtype: torch.dtype = torch.float64, width: int = 3, num_graphs: int = 0):
    """PNA's aggregation by compiled loops and by torch, with inputs for all graphs of the store or for so many."""
    store = STORES[kind]()
    chosen = torch.arange(num_graphs or len(store)) % len(store)
    batch = table(store, edge_features=2 if of_edges else 0, dtype=dtype, kinds=4).batch(chosen)
    topology: Topology = batch.topology
    nodes, graphs = topology.num_nodes, batch.x.shape[2]
    shapes = [(MEMBERS, nodes, graphs, width), (MEMBERS, nodes, graphs, width)]
    if topology.kind_features is not None:
        shapes.append((MEMBERS, len(topology.kind_features), 1, width))
    inputs = tuple(normal(*shape, dtype=dtype, seed=i).requires_grad_() for i, shape in enumerate(shapes))

    def by_torch(x: Tensor, values: Tensor, shifts: Tensor | None = None) -> Tensor:
        return pna.aggregate_by_torch(x, values, shifts, topology=topology)

    def compiled(x: Tensor, values: Tensor, shifts: Tensor | None = None) -> Tensor:
        return kernels.aggregate(x, values, shifts, topology.compressed_rows, pna.VARIANCE_FLOOR, by_torch)

    return compiled, by_torch, inputs


def gradients(inputs, out: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(out, inputs, normal(*out.shape, dtype=out.dtype, seed=2)))


@pytest.mark.parametrize("of_edges", [False, True])
@pytest.mark.parametrize("kind", STORES)
def test_aggregates_and_gradients(kind, of_edges):
    compare(*setting(kind, of_edges))


def compare(compiled, by_torch, inputs) -> None:
    """Values and gradients of both functions are equal to rounding."""
    out, expected = compiled(*inputs), by_torch(*inputs)
    close(out.detach(), expected.detach(), rtol=ROUNDING)
    for gradient, expected_gradient in zip(gradients(inputs, out), gradients(inputs, expected), strict=True):
        close(gradient, expected_gradient, rtol=ROUNDING)


@pytest.mark.parametrize("of_edges", [False, True])
def test_more_values_of_a_node_than_a_tile_has(of_edges):
    compiled, by_torch, inputs = setting("periodic", of_edges, width=20, num_graphs=64)
    assert inputs[1][0, 0].numel() > 2 * pna_loops.TILE
    compare(compiled, by_torch, inputs)


@pytest.mark.parametrize("of_edges", [False, True])
def test_second_derivatives_of_aggregates(of_edges):
    compiled, _, inputs = setting("open", of_edges, width=1)
    assert torch.autograd.gradgradcheck(compiled, inputs, fast_mode=True)


def test_second_derivatives_of_inputs_that_are_not_contiguous():
    compiled, _, inputs = setting("open", True, width=1)

    def strided(x: Tensor) -> Tensor:
        return torch.stack([x, 2 * x], dim=-1)[..., 0]

    assert not strided(inputs[0]).is_contiguous()
    assert torch.autograd.gradgradcheck(lambda *tensors: compiled(*map(strided, tensors)), inputs, fast_mode=True)
    norm_inputs = inputs_of_norm(shape=(2, 3, 2, 2))
    assert torch.autograd.gradgradcheck(lambda *tensors: compiled_norm(*map(strided, tensors)), norm_inputs)


def test_an_input_may_depend_on_another():
    compiled, by_torch, (x, values) = setting("open", of_edges=False)
    weight = normal(values.shape[-1], x.shape[-1], seed=4).requires_grad_()

    def derivatives(function) -> list[Tensor]:
        out = function(x, x @ weight)
        first = torch.autograd.grad(out.square().sum(), (x, weight), create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), (x, weight))
        return [*first, *second]

    for value, expected in zip(derivatives(compiled), derivatives(by_torch), strict=True):
        close(value.detach(), expected.detach(), rtol=DERIVATIVE)


def test_the_first_of_equal_values_has_the_gradient_of_an_extremum():
    compiled, by_torch, (x, values) = setting("open", of_edges=False)
    equal = torch.ones_like(values).requires_grad_()
    of_both = [gradients((x, equal), function(x, equal)) for function in (compiled, by_torch)]
    for value, expected in zip(*of_both, strict=True):
        close(value, expected, rtol=ROUNDING)


def test_nan_spreads_as_in_torch():
    compiled, by_torch, (x, values) = setting("periodic", of_edges=False)
    broken = values.detach().clone()
    broken[0, 0, 0, 0] = float("nan")
    out, expected = compiled(x, broken), by_torch(x, broken)
    width = values.shape[-1]
    for columns in (slice(width, 2 * width), slice(4 * width, None)):  # mean and deviation: a loss depends on both
        assert torch.equal(out[..., columns].isnan(), expected[..., columns].isnan())
    assert out.isnan().any()


def inputs_of_norm(dtype: torch.dtype = torch.float64, shape=(MEMBERS, 7, 40, 3)):
    inputs = (
        normal(*shape, dtype=dtype),
        normal(shape[0], shape[-1], dtype=dtype),
        normal(shape[0], shape[-1], seed=3),
    )
    return tuple(tensor.to(dtype).requires_grad_() for tensor in inputs)


def compiled_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return kernels.batch_norm_relu(x, weight, bias, norm.EPSILON, norm.batch_norm_relu_by_torch)[0]


@pytest.mark.parametrize("shape", [(MEMBERS, 7, 40, 3), (1, 200, 1, 5), (2, 1, 1, 4), (2, 64, 2, 1)])
def test_batch_norm_with_relu_and_gradients(shape):
    inputs = inputs_of_norm(shape=shape)
    _, mean, var = kernels.batch_norm_relu(*inputs, norm.EPSILON, norm.batch_norm_relu_by_torch)
    x = inputs[0].detach()
    close(mean, x.mean(dim=(1, 2)), rtol=ROUNDING)
    close(var, x.var(dim=(1, 2), correction=0), rtol=ROUNDING)
    compare(compiled_norm, norm.batch_norm_relu_by_torch, inputs)


def test_second_derivatives_of_batch_norm():
    assert torch.autograd.gradgradcheck(compiled_norm, inputs_of_norm(shape=(2, 3, 2, 2)))


@pytest.mark.parametrize("of_bias", [0, 1])
def test_second_derivatives_by_one_input_alone(of_bias):
    inputs = [tensor.detach() for tensor in inputs_of_norm(shape=(1, 3, 4, 2))]
    variable = inputs[1 + of_bias].requires_grad_()

    def second_derivative(function) -> Tensor:
        (gradient,) = torch.autograd.grad(function(*inputs).square().sum(), variable, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), variable)[0]

    expected = second_derivative(norm.batch_norm_relu_by_torch)
    close(second_derivative(compiled_norm), expected, rtol=ROUNDING)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_member_does_not_depend_on_its_stack(dtype):
    compiled, _, inputs = setting("molecules", of_edges=True, dtype=dtype)
    norm_inputs = inputs_of_norm(dtype)
    of_stack = [compiled(*inputs), compiled_norm(*norm_inputs)]
    gradients_of_stack = gradients(inputs, of_stack[0])
    for m in range(MEMBERS):
        alone = [compiled(*(t[m : m + 1] for t in inputs)), compiled_norm(*(t[m : m + 1] for t in norm_inputs))]
        for value, of_all in zip(alone, of_stack, strict=True):
            assert torch.equal(value[0], of_all[m])
    inputs_of_member = [tensor[1:2].detach().requires_grad_() for tensor in inputs]
    gradient_of_out = normal(*of_stack[0].shape, dtype=dtype, seed=2)[1:2]
    gradients_alone = torch.autograd.grad(compiled(*inputs_of_member), inputs_of_member, gradient_of_out)
    for value, of_all in zip(gradients_alone, gradients_of_stack, strict=True):
        assert torch.equal(value[0], of_all[1])


def test_what_is_loaded_beforehand_is_what_training_runs():
    loops = [pna_loops.forward, pna_loops.backward, norm_loops.forward, norm_loops.backward]
    kernels.load()
    before = [set(loop.signatures) for loop in loops]
    for dtype, of_edges in itertools.product((torch.float32, torch.float64), (False, True)):
        compiled, _, inputs = setting("periodic", of_edges=of_edges, dtype=dtype)
        gradients(inputs, compiled(*inputs))
        norm_inputs = inputs_of_norm(dtype)
        gradients(norm_inputs, compiled_norm(*norm_inputs))
    assert [set(loop.signatures) for loop in loops] == before


def test_loops_do_not_run_where_torch_records_or_transforms_operations():
    answers = []

    def function(x: Tensor) -> Tensor:
        answers.append(kernels.usable(x))
        return x * 2

    x = normal(2, 2)
    function(x)
    Tape(function, x)
    torch.func.vmap(function)(x)
    torch.func.jvp(function, (x,), (x,))
    with torch.autograd.forward_ad.dual_level():
        function(x)
    assert answers == [True, False, False, False, False]
    assert not kernels.usable(x.half())
    assert not kernels.usable(x.to("meta"))
