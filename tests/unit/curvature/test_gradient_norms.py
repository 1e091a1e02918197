"""Sums of squared norms of single graphs' gradients from one pass, against the gradients of one graph after another."""

from __future__ import annotations

import pytest
import torch
from helpers.networks import NETWORKS, network, random_like, shared, uses_edges
from helpers.problems import start
from helpers.stores import STORES
from helpers.tolerances import DERIVATIVE, ROUNDING, close
from helpers.trunks import with_trunk
from torch import Tensor

from ensemble_mtl.curvature import losses
from ensemble_mtl.curvature.forms.gradient_norms import GradientNorms, NotSeparableError
from ensemble_mtl.curvature.forms.quadratic import JetForms, Residuals
from ensemble_mtl.curvature.forms.tape import Tape

POINT = torch.linspace(-1, 1.2, 2 * 21, dtype=torch.float64).view(2, 21)
SHAPES = [(3, 4), (3,), (2, 3)]
GRAPH = torch.tensor([0, 0, 1, 2, 2, 2])
SCALES = torch.tensor([[0.5, 2.0, -3.0]], dtype=torch.float64)
TWICE = torch.full((2, 12), 2.0, dtype=torch.float64)
ROWS = random_like(torch.empty(1, 6, 4, dtype=torch.float64))


def norms_of(function, graph: Tensor = GRAPH, point: Tensor = POINT, shapes=SHAPES, rows=None) -> Tensor:
    norms = GradientNorms(Tape(function, point), shapes, graph, rows or (lambda count: [graph]))
    return norms.sum_of_squared_norms(torch.ones(1, len(graph)))[0]


def graph_by_graph(function, graph: Tensor = GRAPH, point: Tensor = POINT) -> Tensor:
    """``[M]``: the gradient of the sum of a graph's rows by plain backward, for one graph after another."""
    of_graph = (graph == graph.unique()[:, None]).to(point.dtype)  # [graphs, R]
    jacobian = torch.autograd.functional.jacobian(lambda p: of_graph @ function(p).sum(0), point)
    return jacobian.square().sum((0, 2))


def parts(p: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    weight, bias, rest = p.split([12, 3, 6], dim=1)
    return weight.view(-1, 3, 4), bias, rest


def parts_of_twice(p: Tensor) -> Tensor:
    return (p[:, :12] * TWICE).view(-1, 3, 4)


def layer(p: Tensor) -> Tensor:
    weight, bias, _ = parts(p)
    return torch.tanh(bias[:, None].baddbmm(ROWS.expand(len(p), -1, -1), weight.mT))


def reused(p: Tensor) -> Tensor:
    """A weight is used whole, and then a piece of it stands beside another weight."""
    weight, bias, rest = parts(p)
    hidden = layer(p)
    side_by_side = torch.cat([weight[:, :, :3], rest.view(-1, 2, 3)], dim=1)
    z = torch.tanh(hidden) @ side_by_side.mT
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
    close(norms_of(FUNCTIONS[name]), graph_by_graph(FUNCTIONS[name]), rtol=DERIVATIVE)


def test_the_example_of_the_module():
    """Three graphs with 2, 8 and 45, and the same when graphs 0 and 2 are coupled, which is refused."""
    x = torch.tensor([[1, 0], [0, 1], [1, 1], [2, 0], [0, 1], [1, 1]], dtype=torch.float64)[None]
    weight = torch.ones(1, 2, dtype=torch.float64)

    def half_squares(p: Tensor) -> Tensor:
        return (x @ p.view(1, 1, 2).mT)[..., 0].square() / 2

    norms = GradientNorms(Tape(half_squares, weight), [(1, 2)], GRAPH, lambda count: [GRAPH])
    for graph, expected in enumerate((2.0, 8.0, 45.0)):
        of_graph = GRAPH.eq(graph).double()[None]
        close(norms.sum_of_squared_norms(of_graph), torch.tensor([[expected]]).double(), rtol=ROUNDING)
    close(norms_of(half_squares, point=weight, shapes=[(1, 2)]), torch.tensor([55.0]).double(), rtol=ROUNDING)

    def coupled(p: Tensor) -> Tensor:
        residuals = half_squares(p)
        return residuals + torch.nn.functional.pad(residuals[:, 3:4], (0, 5))

    with pytest.raises(NotSeparableError, match="graphs couple"):
        norms_of(coupled, point=weight, shapes=[(1, 2)])


CONV_OPTIONS = {"gin": {"train_eps": True}, "gatv2": {"heads": 2}}
CASES = [
    (name, kind, edges, kinds)
    for name in NETWORKS
    for kind in STORES
    for edges, kinds in ((0, 0), (2, 0), (2, 2), (1, 0), (1, 1))
    if not edges or uses_edges(name)
]


@pytest.mark.parametrize(("name", "kind", "edges", "kinds"), CASES)
def test_one_pass_gives_the_norms_of_every_network(name, kind, edges, kinds):
    """Edges have no features, or each its own, or those of one of two kinds, as bonds have."""
    problem, state = network(name, kind, [1, 2], edges=edges, kinds=kinds, conv_options=CONV_OPTIONS.get(name, {}))
    point, tasks = shared(problem, state), ["H", "C"]
    (whole,) = losses.residuals(problem, state, tasks, torch.arange(6), 6)
    close(whole.separate_function(point), whole.function(point), rtol=DERIVATIVE)
    check_each_task(whole, point)


def check_each_task(whole: Residuals, point: Tensor) -> None:
    """The norms of each task alone are those of its residuals' gradients, graph by graph."""
    norms = whole.gradient_norms(point)
    for task in range(2):
        mask = whole.task == task
        expected = graph_by_graph(lambda p, mask=mask: whole.function(p)[:, mask], whole.graph[mask], point)
        close(norms.sum_of_squared_norms(mask[None].to(point.dtype))[0], expected, rtol=DERIVATIVE)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in NETWORKS for kind in STORES])
@pytest.mark.parametrize("graphs", [[2], [3], [0, 2, 3], [2, 2, 3, 0, 5]], ids=str)
def test_few_graphs_with_few_rows(name, kind, graphs):
    """One graph, a single atom, no edge at all, a degree that occurs once: products pad a single row by zeros."""
    problem, state = network(name, kind, [1, 2], missing=0.3)
    point, tasks = shared(problem, state), ["H", "C"]
    (whole,) = losses.residuals(problem, state, tasks, torch.tensor(graphs), 6)
    check_each_task(whole, point)


@pytest.mark.parametrize("share", [True, False])
def test_steps_of_a_graph_network_share_weights_or_not(share):
    problem, state = network("graph_network", "molecules", [1, 2])
    problem = with_trunk(problem, "graph_network", width=2, share_weights=share)
    state = start(problem, [1, 2])
    point = shared(problem, state)
    (whole,) = losses.residuals(problem, state, ["H"], torch.arange(6), 6)
    expected = graph_by_graph(whole.function, whole.graph, point)
    norms = whole.gradient_norms(point).sum_of_squared_norms(torch.ones(1, len(whole.task)))
    close(norms[0], expected, rtol=DERIVATIVE)


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name in NETWORKS for kind in STORES])
def test_passes_may_differ_by_rounding(name, kind, monkeypatch):
    """On a GPU two passes may take sums in another order."""
    problem, state = network(name, kind, [1, 2], dtype="float32")
    (whole,) = losses.residuals(problem, state, ["H", "C"], torch.arange(6), 6)
    exact = GradientNorms._deltas
    generator = torch.Generator().manual_seed(0)

    def rounded(self: GradientNorms, coefficients: Tensor) -> dict[int, Tensor]:
        return {
            key: delta * (1 + 1e-5 * torch.randn(delta.shape, generator=generator))
            for key, delta in exact(self, coefficients).items()
        }

    ones = torch.ones(1, len(whole.task))
    expected = whole.gradient_norms(shared(problem, state)).sum_of_squared_norms(ones)
    monkeypatch.setattr(GradientNorms, "_deltas", rounded)
    # Twice the 1e-5 of a row's entries, of which the products of a few rows are summed.
    close(whole.gradient_norms(shared(problem, state)).sum_of_squared_norms(ones), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("message", "function"),
    [
        ("graphs couple", lambda p: layer(p).sum(-1) * layer(p).sum()),
        ("graphs couple", lambda p: layer(p).cumsum(1).sum(-1)),
        ("parameters in tanh", lambda p: layer(p).sum(-1) + p.tanh().sum()),
        ("a product of parameters", lambda p: ROWS[..., 0] * (p[:, None, :3] * p[:, None, 3:6]).sum(-1)),
        ("multiplied by constants", lambda p: (ROWS.expand(2, -1, -1) @ parts_of_twice(p).mT).tanh().sum(-1)),
        ("differ by row", lambda p: (p[:, :6, None] * ROWS).sum(-1)),
        ("rows and columns are mixed", lambda p: (ROWS.expand(2, -1, -1) @ p[:, :12].view(-1, 4, 3)).tanh().sum(-1)),
        ("parameters in index_select", lambda p: ROWS[..., 0] * p.index_select(1, GRAPH)),
        ("more than 64", lambda p: layer(p).sum(-1).repeat(1, 12)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_functions_whose_graphs_are_not_separable_are_refused(message, function):
    with pytest.raises(NotSeparableError, match=message):
        norms_of(function, torch.arange(72) if "64" in message else GRAPH)


@pytest.mark.parametrize("padding", [(0, 0, 1, 0), (0, 0, 0, 1)], ids=["on top", "at the bottom"])
def test_a_padded_weight_beside_another_goes_graph_by_graph(padding):
    """x (A | B'), where B' is B with a row of zeros, so that a column of constants and parameters occurs."""
    x, graphs = ROWS[0], torch.arange(6)

    def residuals_of(rows: Tensor):
        def function(p: Tensor) -> Tensor:
            beside = torch.nn.functional.pad(p[:, 12:18].view(-1, 2, 3).mT, padding)
            z = rows.expand(len(p), -1, -1) @ torch.cat([p[:, :12].view(-1, 3, 4).mT, beside], dim=2)
            return z.pow(3).sum(-1)

        count = len(rows)
        numbers, zeros = torch.arange(count), torch.zeros(count, dtype=torch.int64)
        ones = torch.ones(1, count, dtype=torch.float64)
        shapes = [(3, 4), (2, 3), (3,)]
        return Residuals(function, zeros, numbers, ones, shapes, function, lambda number: [numbers])

    whole = residuals_of(x)
    with pytest.raises(NotSeparableError, match="padded"):
        whole.gradient_norms(POINT)
    forms = JetForms([whole], 1, POINT, lambda: (residuals_of(row[None]) for row in x))
    close(forms.gauss_newton_trace()[0], 2 * graph_by_graph(whole.function, graphs), rtol=DERIVATIVE)


@pytest.mark.parametrize("value", [float("nan"), 1e30, 1e-30, 40.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_member_out_of_range_disturbs_no_other(value, dtype):
    def function(p: Tensor) -> Tensor:
        rows = ROWS.to(p.dtype).expand(len(p), -1, -1)
        z = parts(p)[1][:, None].baddbmm(rows, parts(p)[0].mT)
        return (torch.sigmoid(z) + z.relu() ** 3).sum(-1)

    healthy = POINT[:1].to(dtype)
    norms = norms_of(function, point=torch.cat([torch.full_like(healthy, value), healthy]))
    assert torch.equal(norms[1], norms_of(function, point=healthy)[0])
    if value != value:
        assert norms[0].isnan()
