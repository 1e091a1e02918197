"""Compiled loops give the numbers of torch's operations, and their derivatives."""

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
from ensemble_mtl.models.kernels import norm as norm_loops
from ensemble_mtl.models.kernels import pna as pna_loops

MEMBERS = 3


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def setting(kind: str, of_edges: bool, dtype: torch.dtype = torch.float64, width: int = 3, num_graphs: int = 0):
    """The compiled function, the plain one, and their inputs; all graphs of the store, or so many."""
    store = STORES[kind]()
    chosen = torch.arange(num_graphs or len(store)) % len(store)
    batch = table(store, edge_features=2 if of_edges else 0, dtype=dtype, kinds=4).batch(chosen)
    topology: Topology = batch.topology
    nodes, graphs = topology.num_nodes, batch.x.shape[2]
    shapes = [(MEMBERS, nodes, graphs, width), (MEMBERS, nodes, graphs, width)]
    if topology.kinds is not None:
        shapes.append((MEMBERS, len(topology.kinds), 1, width))
    inputs = tuple(normal(*shape, dtype=dtype, seed=i).requires_grad_() for i, shape in enumerate(shapes))

    def plain(x: Tensor, values: Tensor, shifts: Tensor | None = None) -> Tensor:
        return pna.aggregated(x, values, shifts, topology=topology)

    def compiled(x: Tensor, values: Tensor, shifts: Tensor | None = None) -> Tensor:
        return kernels.aggregate(x, values, shifts, topology.neighbours, pna.VARIANCE_FLOOR, plain)

    return compiled, plain, inputs


def gradients(function, inputs, out: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(out, inputs, normal(*out.shape, dtype=out.dtype, seed=2)))


@pytest.mark.parametrize("of_edges", [False, True])
@pytest.mark.parametrize("kind", STORES)
def test_aggregates_and_gradients(kind, of_edges):
    compiled, plain, inputs = setting(kind, of_edges)
    ours, theirs = compiled(*inputs), plain(*inputs)
    pairs = [(ours, theirs), *zip(gradients(compiled, inputs, ours), gradients(plain, inputs, theirs), strict=True)]
    for found, expected in pairs:
        close(found.detach(), expected.detach(), rtol=ROUNDING)


@pytest.mark.parametrize("of_edges", [False, True])
def test_more_values_of_a_node_than_a_tile_has(of_edges):
    compiled, plain, inputs = setting("periodic", of_edges, width=20, num_graphs=64)
    assert inputs[1][0, 0].numel() > 2 * pna_loops.TILE
    ours, theirs = compiled(*inputs), plain(*inputs)
    pairs = [(ours, theirs), *zip(gradients(compiled, inputs, ours), gradients(plain, inputs, theirs), strict=True)]
    for found, expected in pairs:
        close(found.detach(), expected.detach(), rtol=ROUNDING)


@pytest.mark.parametrize("of_edges", [False, True])
def test_second_derivatives_of_aggregates(of_edges):
    compiled, _, inputs = setting("open", of_edges, width=1)
    assert torch.autograd.gradgradcheck(compiled, inputs, fast_mode=True)


def test_second_derivatives_of_inputs_that_are_not_contiguous():
    compiled, _, inputs = setting("open", True, width=1)

    def strided(x: Tensor) -> Tensor:
        return torch.stack([x, 2 * x], dim=-1)[..., 0]

    assert not strided(inputs[0]).is_contiguous()
    assert torch.autograd.gradgradcheck(lambda *given: compiled(*map(strided, given)), inputs, fast_mode=True)
    x, weight, bias = normed(shape=(2, 3, 2, 2))
    assert torch.autograd.gradgradcheck(lambda *given: compiled_norm(*map(strided, given)), (x, weight, bias))


def test_an_input_may_depend_on_another():
    compiled, plain, (x, values) = setting("open", of_edges=False)
    weight = normal(values.shape[-1], x.shape[-1], seed=4).requires_grad_()
    found = []
    for function in (compiled, plain):
        out = function(x, x @ weight)
        first = torch.autograd.grad(out.square().sum(), (x, weight), create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), (x, weight))
        found.append([*first, *second])
    for ours, theirs in zip(*found, strict=True):
        close(ours.detach(), theirs.detach(), rtol=DERIVATIVE)


def test_the_first_of_equal_values_has_the_gradient_of_an_extremum():
    compiled, plain, (x, values) = setting("open", of_edges=False)
    equal = torch.ones_like(values).requires_grad_()
    pairs = [gradients(function, (x, equal), function(x, equal)) for function in (compiled, plain)]
    for found, expected in zip(*pairs, strict=True):
        close(found, expected, rtol=ROUNDING)


def test_what_is_not_finite_stays_so():
    compiled, plain, (x, values) = setting("periodic", of_edges=False)
    broken = values.detach().clone()
    broken[0, 0, 0, 0] = float("nan")
    ours, theirs = compiled(x, broken), plain(x, broken)
    width = values.shape[-1]
    for part in (slice(width, 2 * width), slice(4 * width, None)):  # mean and deviation; a loss is of both
        assert torch.equal(ours[..., part].isnan(), theirs[..., part].isnan())
    assert ours.isnan().any()


def normed(dtype: torch.dtype = torch.float64, shape=(MEMBERS, 7, 40, 3)):
    inputs = (
        normal(*shape, dtype=dtype),
        normal(shape[0], shape[-1], dtype=dtype),
        normal(shape[0], shape[-1], seed=3),
    )
    return tuple(tensor.to(dtype).requires_grad_() for tensor in inputs)


def compiled_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return kernels.batch_norm_relu(x, weight, bias, norm.EPSILON, norm.plain)[0]


@pytest.mark.parametrize("shape", [(MEMBERS, 7, 40, 3), (1, 200, 1, 5), (2, 1, 1, 4), (2, 64, 2, 1)])
def test_batch_norm_with_relu_and_gradients(shape):
    inputs = normed(shape=shape)
    ours, mean, var = kernels.batch_norm_relu(*inputs, norm.EPSILON, norm.plain)
    theirs, x = norm.plain(*inputs), inputs[0].detach()
    close(mean, x.mean(dim=(1, 2)), rtol=ROUNDING)
    close(var, x.var(dim=(1, 2), correction=0), rtol=ROUNDING)
    pairs = zip(gradients(None, inputs, ours), gradients(None, inputs, theirs), strict=True)
    for found, expected in [(ours, theirs), *pairs]:
        close(found.detach(), expected.detach(), rtol=ROUNDING)


def test_second_derivatives_of_batch_norm():
    assert torch.autograd.gradgradcheck(compiled_norm, normed(shape=(2, 3, 2, 2)))


@pytest.mark.parametrize("of_bias", [0, 1])
def test_second_derivatives_by_one_input_alone(of_bias):
    inputs = [tensor.detach() for tensor in normed(shape=(1, 3, 4, 2))]
    place = 1 + of_bias
    inputs[place].requires_grad_()
    (gradient,) = torch.autograd.grad(compiled_norm(*inputs).square().sum(), inputs[place], create_graph=True)
    (expected,) = torch.autograd.grad(norm.plain(*inputs).square().sum(), inputs[place], create_graph=True)
    found, wanted = (torch.autograd.grad(one.square().sum(), inputs[place])[0] for one in (gradient, expected))
    close(found, wanted, rtol=ROUNDING)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_member_does_not_depend_on_its_stack(dtype):
    compiled, _, inputs = setting("molecules", of_edges=True, dtype=dtype)
    norm_inputs = normed(dtype)
    whole = [compiled(*inputs), compiled_norm(*norm_inputs)]
    of_whole = gradients(None, inputs, whole[0])
    for m in range(MEMBERS):
        alone = [compiled(*(t[m : m + 1] for t in inputs)), compiled_norm(*(t[m : m + 1] for t in norm_inputs))]
        for one, all_of_them in zip(alone, whole, strict=True):
            assert torch.equal(one[0], all_of_them[m])
    parts = [tensor[1:2].detach().requires_grad_() for tensor in inputs]
    seed = normal(*whole[0].shape, dtype=dtype, seed=2)[1:2]
    for one, all_of_them in zip(torch.autograd.grad(compiled(*parts), parts, seed), of_whole, strict=True):
        assert torch.equal(one[0], all_of_them[1])


def test_what_is_loaded_beforehand_is_what_training_runs():
    loops = [pna_loops._forward, pna_loops._backward, norm_loops._forward, norm_loops._backward]
    kernels.load()
    before = [set(loop.signatures) for loop in loops]
    for dtype, of_edges in itertools.product((torch.float32, torch.float64), (False, True)):
        compiled, _, inputs = setting("periodic", of_edges=of_edges, dtype=dtype)
        gradients(None, inputs, compiled(*inputs))
        norm_inputs = normed(dtype)
        gradients(None, norm_inputs, compiled_norm(*norm_inputs))
    assert [set(loop.signatures) for loop in loops] == before


def test_loops_do_not_run_where_operations_are_watched():
    seen = []

    def function(x: Tensor) -> Tensor:
        seen.append(kernels.usable(x))
        return x * 2

    x = normal(2, 2)
    function(x)
    Tape(function, x)
    torch.func.vmap(function)(x)
    torch.func.jvp(function, (x,), (x,))
    with torch.autograd.forward_ad.dual_level():
        function(x)
    assert seen == [True, False, False, False, False]
    assert not kernels.usable(x.half())
    assert not kernels.usable(x.to("meta"))
