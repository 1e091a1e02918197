"""Squared norms of single graphs' gradients from one pass, against the gradients of one graph after another."""

from __future__ import annotations

import pytest
import torch
from helpers.networks import NETWORKS, network, random_like, shared, uses_edges
from helpers.problems import start
from helpers.stores import STORES
from helpers.tolerances import DERIVATIVE, close
from helpers.trunks import with_model
from torch import Tensor

from ensemble_mtl.curvature import losses
from ensemble_mtl.curvature.forms.gradient_norms import GradientNorms, NotSeparableError
from ensemble_mtl.curvature.forms.tape import Tape

POINT = torch.linspace(-1, 1.2, 2 * 21, dtype=torch.float64).view(2, 21)
SHAPES = [(3, 4), (3,), (2, 3)]
GRAPH = torch.tensor([0, 0, 1, 2, 2, 2])
SCALES = torch.tensor([[0.5, 2.0, -3.0]], dtype=torch.float64)
TWICE = torch.full((2, 12), 2.0, dtype=torch.float64)
ROWS = random_like(torch.empty(1, 6, 4, dtype=torch.float64))


def norms_of(function, graph: Tensor = GRAPH, point: Tensor = POINT, shapes=SHAPES, rows=None) -> Tensor:
    norms = GradientNorms(Tape(function, point), shapes, graph, rows or (lambda count: [graph]))
    return norms.squares(torch.ones(1, len(graph)))[0]


def one_by_one(function, graph: Tensor = GRAPH, point: Tensor = POINT) -> Tensor:
    rows = torch.autograd.functional.jacobian(lambda p: function(p).sum(0), point).movedim(0, 1)
    return sum(rows[:, graph == number].sum(1).square().sum(1) for number in graph.unique())


def parts(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    weight, bias, rest = p.split([12, 3, 6], dim=1)
    return weight.view(-1, 3, 4), bias, rest


def parts_of_twice(p: Tensor) -> Tensor:
    return (p[:, :12] * TWICE).view(-1, 3, 4)


def layer(p: Tensor) -> Tensor:
    weight, bias, _ = parts(p)
    return torch.tanh(bias[:, None].baddbmm(ROWS.expand(len(p), -1, -1), weight.mT))


def reused(p: Tensor) -> Tensor:
    """One weight whole, and in pieces that stand beside others."""
    weight, bias, rest = parts(p)
    hidden = layer(p)
    both = torch.cat([weight[:, :, :3], rest.view(-1, 2, 3)], dim=1)
    z = torch.tanh(hidden) @ both.mT
    return (z * z).sum(-1) + (hidden * bias[:, None]).sum(-1)


def padded(p: Tensor) -> Tensor:
    weight = torch.nn.functional.pad(parts(p)[0], (0, 0, 0, 2))
    return (ROWS.expand(len(p), -1, -1) @ weight.mT).pow(3).sum(-1)


FUNCTIONS = {
    "layer": lambda p: layer(p).sum(-1),
    "twice": reused,
    "padded": padded,
    "products": lambda p: torch.addcmul(p[:, None, 15:18], layer(p), p[:, None, 18:]).square().sum(-1),
    "differences": lambda p: (layer(p) - p[:, None, 15:18]).pow(3).sum(-1) + (p[:, None, 18:] - layer(p)).exp().sum(-1),
    "times constants": lambda p: (layer(p) * (p[:, 15:18] * SCALES)[:, None]).square().sum(-1),
    "one for all columns": lambda p: (layer(p) * p[:, None, 20:]).square().sum(-1),
    "not of all parameters": lambda p: (ROWS[..., :3] * p[:, None, 12:15]).tanh().sum(-1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_norms_are_those_of_the_gradients(name):
    close(norms_of(FUNCTIONS[name]), one_by_one(FUNCTIONS[name]), rtol=DERIVATIVE)


CONV_OPTIONS = {"gin": {"train_eps": True}, "gatv2": {"heads": 2}}
CASES = [
    (name, kind, edges, kinds)
    for name in NETWORKS
    for kind in STORES
    for edges, kinds in ((0, 0), (2, 0), (2, 2), (1, 0), (1, 1))
    if not edges or uses_edges(name)
]


@pytest.mark.parametrize(("name", "kind", "edges", "kinds"), CASES)
def test_every_network_is_told_apart_in_one_pass(name, kind, edges, kinds):
    """With edges that have no features, features of their own, or one of two kinds, as bonds have."""
    problem, state = network(name, kind, [1, 2], edges=edges, kinds=kinds, conv_options=CONV_OPTIONS.get(name, {}))
    point, tasks = shared(problem, state), ["H", "C"]
    (whole,) = losses.residuals(problem, state, tasks, torch.arange(6), 6)
    close(whole.apart(point), whole.function(point), rtol=DERIVATIVE)
    norms = whole.gradient_norms(point)
    for task in range(2):
        own = whole.task == task
        expected = one_by_one(lambda p, own=own: whole.function(p)[:, own], whole.graph[own], point)
        close(norms.squares(own[None].to(point.dtype))[0], expected, rtol=DERIVATIVE)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in NETWORKS for kind in STORES])
@pytest.mark.parametrize("graphs", [[2], [3], [0, 2, 3], [2, 2, 3, 0, 5]], ids=str)
def test_few_graphs_with_few_rows(name, kind, graphs):
    """One graph, a single atom, no edge at all, a degree that occurs once: products pad a lone row by zeros."""
    problem, state = network(name, kind, [1, 2], missing=0.3)
    point, tasks = shared(problem, state), ["H", "C"]
    (whole,) = losses.residuals(problem, state, tasks, torch.tensor(graphs), 6)
    norms = whole.gradient_norms(point)
    for task in range(2):
        own = whole.task == task
        expected = one_by_one(lambda p, own=own: whole.function(p)[:, own], whole.graph[own], point)
        close(norms.squares(own[None].to(point.dtype))[0], expected, rtol=DERIVATIVE)


@pytest.mark.parametrize("share", [True, False])
def test_steps_of_a_graph_network_share_weights_or_not(share):
    problem, state = network("graph_network", "molecules", [1, 2])
    problem = with_model(problem, trunk="graph_network", width=2, share_weights=share)
    state = start(problem, [1, 2])
    point = shared(problem, state)
    (whole,) = losses.residuals(problem, state, ["H"], torch.arange(6), 6)
    expected = one_by_one(whole.function, whole.graph, point)
    close(whole.gradient_norms(point).squares(torch.ones(1, len(whole.task)))[0], expected, rtol=DERIVATIVE)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in NETWORKS for kind in STORES])
def test_sums_in_another_order_are_told_apart(name, kind, monkeypatch):
    """As on a GPU, where two passes differ by rounding."""
    problem, state = network(name, kind, [1, 2], dtype="float32")
    (whole,) = losses.residuals(problem, state, ["H", "C"], torch.arange(6), 6)
    exact = GradientNorms._deltas
    generator = torch.Generator().manual_seed(0)

    def rounded(self: GradientNorms, seed: Tensor) -> dict[int, Tensor]:
        return {
            key: delta * (1 + 1e-5 * torch.randn(delta.shape, generator=generator))
            for key, delta in exact(self, seed).items()
        }

    seed = torch.ones(1, len(whole.task))
    expected = whole.gradient_norms(shared(problem, state)).squares(seed)
    monkeypatch.setattr(GradientNorms, "_deltas", rounded)
    # Twice the 1e-5 of a row's entries, of which the products of a few rows are summed.
    close(whole.gradient_norms(shared(problem, state)).squares(seed), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("what", "function"),
    [
        ("graphs couple", lambda p: layer(p).sum(-1) * layer(p).sum()),
        ("graphs couple", lambda p: layer(p).cumsum(1).sum(-1)),
        ("parameters in tanh", lambda p: layer(p).sum(-1) + p.tanh().sum()),
        ("a product of parameters", lambda p: ROWS[..., 0] * (p[:, None, :3] * p[:, None, 3:6]).sum(-1)),
        ("multiplied by constants", lambda p: (ROWS.expand(2, -1, -1) @ parts_of_twice(p).mT).tanh().sum(-1)),
        ("differ by row", lambda p: (p[:, :6, None] * ROWS).sum(-1)),
        ("another arrangement", lambda p: (ROWS.expand(2, -1, -1) @ p[:, :12].view(-1, 4, 3)).tanh().sum(-1)),
        ("parameters in index_select", lambda p: ROWS[..., 0] * p.index_select(1, GRAPH)),
        ("more than 64", lambda p: layer(p).sum(-1).repeat(1, 12)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_told_apart_is_refused(what, function):
    with pytest.raises(NotSeparableError, match=what):
        norms_of(function, torch.arange(72) if "64" in what else GRAPH)


@pytest.mark.parametrize("value", [float("nan"), 1e30, 1e-30, 40.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_member_out_of_range_disturbs_no_other(value, dtype):
    def function(p: Tensor) -> Tensor:
        rows = ROWS.to(p.dtype).expand(len(p), -1, -1)
        z = parts(p)[1][:, None].baddbmm(rows, parts(p)[0].mT)
        return (torch.sigmoid(z) + z.relu() ** 3).sum(-1)

    healthy = POINT[:1].to(dtype)
    found = norms_of(function, point=torch.cat([torch.full_like(healthy, value), healthy]))
    assert torch.equal(found[1], norms_of(function, point=healthy)[0])
    if value != value:
        assert found[0].isnan()
