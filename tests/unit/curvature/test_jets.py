"""Second derivatives by Taylor arithmetic, against double backward in float64."""

from __future__ import annotations

from itertools import cycle

import pytest
import torch
from helpers.networks import NETWORKS, counted, network, random_like, shared
from helpers.stores import STORES
from helpers.tolerances import DERIVATIVE, ROUNDING, close
from torch import Tensor

from ensemble_mtl.curvature import losses, measure
from ensemble_mtl.curvature.forms import jets
from ensemble_mtl.curvature.forms import quadratic as forms
from ensemble_mtl.curvature.forms.gradient_norms import GradientNorms, NotSeparableError
from ensemble_mtl.curvature.forms.rules import NoRuleError
from ensemble_mtl.curvature.operator import HessianOperator
from ensemble_mtl.models.norm import batch_norm, layer_norm

INDEX = torch.tensor([2, 0, 0, 3])
CONSTANT = torch.linspace(0.5, 2, 12, dtype=torch.float64).view(2, 6)
F = torch.nn.functional
OPERATIONS = {
    "relu": torch.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.3),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": lambda x: F.softplus(30 * x),
    "exp": torch.exp,
    "log": lambda x: (x * x + 1).log(),
    "sqrt": lambda x: (x * x + 1).sqrt(),
    "rsqrt": lambda x: (x * x + 1).rsqrt(),
    "square": torch.square,
    "cube": lambda x: x**3,
    "clamp": lambda x: x.clamp(min=-0.2, max=0.7),
    "clamp below": lambda x: x.clamp(min=0.1),
    "add": lambda x: x + CONSTANT + 2 + x[:, :1],
    "subtract": lambda x: (1 - x) * (CONSTANT - x) * (x[:, 1:2] - x),
    "negative": lambda x: -x * x,
    "multiply": lambda x: x * x[:, :1] * CONSTANT * 3,
    "divide": lambda x: x[:, :3] / (x[:, 3:] ** 2 + 1) + 1 / (x[:, :3] ** 2 + 2) + x[:, :3] / 3,
    "matrix product": lambda x: x.view(2, 2, 3) @ x.view(2, 3, 2) + x.view(2, 2, 3) @ torch.ones(2, 3, 2).double(),
    "plus matrix product": lambda x: torch.baddbmm(x[:, None, :2], x.view(2, 2, 3), x.view(2, 3, 2)),
    "plus product": lambda x: torch.addcmul(x[:, :1], x, CONSTANT) + torch.addcmul(CONSTANT, x, x),
    "maximum": lambda x: torch.maximum(x, CONSTANT - 1) * torch.minimum(x, x[:, :1] * 2),
    "where": lambda x: torch.where(x > 0, x * x, CONSTANT * x),
    "index_select": lambda x: x.index_select(1, INDEX) ** 2,
    "gather": lambda x: x.gather(1, INDEX.expand(2, -1)) ** 2,
    "take": lambda x: (x * x).take(INDEX),
    "index_add": lambda x: torch.zeros_like(x).index_add(1, INDEX, x[:, :4]) ** 2,
    "index_add onto": lambda x: (x * x).index_add(1, INDEX, CONSTANT[:, :4]) ** 2,
    "pad": lambda x: F.pad(x, (1, 2), value=3.0) ** 2,
    "masked_fill": lambda x: x.masked_fill(CONSTANT > 1, 5.0) ** 2,
    "cat": lambda x: torch.cat([x, CONSTANT, x * x], dim=1) ** 2,
    "stack": lambda x: torch.stack([x * x, CONSTANT]) * x,
    "split": lambda x: sum(part.square().sum() * k for k, part in enumerate(x.split([1, 2, 3], dim=1), 1)),
    "chunk": lambda x: x.chunk(2, dim=1)[1] ** 2,
    "shapes": lambda x: x.view(2, 3, 2).permute(2, 0, 1)[:, 1].unsqueeze(0).expand(3, -1, -1).mT.squeeze(0) ** 2,
    "select": lambda x: x[0] * x[1, ::2].repeat(2),
    "sum": lambda x: x.sum(1).square() + x.mean(1).square() + x.square().sum() + x.square().mean(),
    "detach": lambda x: x * x.detach() * x,
    "contiguous": lambda x: x.T.contiguous() ** 2,
    "through float32": lambda x: (x.float() * 2).double() ** 2,
}


@pytest.mark.parametrize("weighted", [True, False], ids=["product", "sum"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_rule_is_that_of_double_backward(name, weighted):
    """In a plain sum, no rule reads the operation's value, so that the tape forgets it."""
    generator = torch.Generator().manual_seed(3)
    point, v = (torch.randn(2, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    weights = torch.randn(400, generator=generator, dtype=torch.float64)

    def function(x: Tensor) -> Tensor:
        out = OPERATIONS[name](x + 0.3 * x * x)
        return (out.flatten() * weights[: out.numel()] if weighted else out).sum()[None]

    value, first, second = jets.SecondDerivative(function, point)(v)
    operator = HessianOperator([function], point)
    tolerance = 1e-5 if "float32" in name else ROUNDING
    close(value, function(point), rtol=tolerance)
    close(first, (v * operator.gradient).sum()[None], rtol=tolerance)
    close(second, (v * operator.matvec(v)).sum()[None], rtol=tolerance)


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_norms_have_exact_second_derivatives(norm):
    """Those of torch's fused norms are off by tenths in forward mode, and no error is raised."""
    generator = torch.Generator().manual_seed(0)
    inputs, point, v = (torch.randn(*shape, generator=generator).double() for shape in ((1, 5, 2, 3), (1, 12), (1, 12)))
    buffers = {"n.running_mean": torch.ones(1, 3).double(), "n.running_var": torch.full((1, 3), 2.0).double()}

    def function(p: Tensor) -> Tensor:
        x = inputs * p[:, None, None, :3] + torch.tanh(inputs * p[:, None, None, 3:6])
        parameters = {"n.weight": p[:, 6:9], "n.bias": p[:, 9:]}
        if norm == "layer":
            out = layer_norm(x, parameters, "n")
        else:
            out = batch_norm(x, parameters, dict(buffers), "n", training=False)
        return (out**3).sum((1, 2, 3))

    _, _, second = jets.SecondDerivative(function, point)(v)
    close(second, (v * HessianOperator([function], point).matvec(v)).sum(1), rtol=ROUNDING)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("conv", NETWORKS)
def test_forms_of_all_tasks_are_those_of_products(conv, kind):
    problem, state = network(conv, kind, [1, 2])
    point, graphs, tasks = shared(problem, state), torch.arange(6), ["H", "C"]
    operators = [HessianOperator(measure.shared_losses(problem, state, task, graphs), point) for task in tasks]
    by_jets = measure.all_forms(problem, state, tasks, graphs)
    assert isinstance(by_jets, forms.JetForms), "an operation of this network has no rule in curvature/forms/rules.py"
    by_products, v = forms.ProductForms(operators), random_like(point)
    expected = by_products.quadratic_forms(v)
    close(by_jets.quadratic_forms(v), expected, rtol=DERIVATIVE)
    close(by_jets.quadratic_forms(2 * v[:1]), by_products.quadratic_forms(2 * v[:1]), rtol=DERIVATIVE)
    assert expected.abs().max() > 1e-3


@pytest.mark.parametrize(("kind", "dtype"), list(zip(STORES, cycle(["float32", "float64"]), strict=False)))
@pytest.mark.parametrize("conv", NETWORKS)
def test_a_member_is_the_same_in_any_stack(conv, kind, dtype):
    problem, state = network(conv, kind, [0, 1, 2, 3, 4], dtype=dtype)

    def values(rows: list[int]) -> Tensor:
        stack = measure.all_forms(problem, state.take(rows), ["H", "C"], torch.arange(6))
        form, gauss_newton_form = stack.with_gauss_newton(random_like(shared(problem, state)[:1]))
        return torch.cat([form, gauss_newton_form, stack.gauss_newton_trace()])

    whole_stack = values([0, 1, 2, 3, 4])
    for rows in ([0], [4], [1, 2], [3, 0, 4]):
        assert torch.equal(values(rows), whole_stack[:, rows])


def test_chunks_add_up(monkeypatch):
    problem, state = network("pna", "molecules", [1, 2])
    v = random_like(shared(problem, state))
    whole = measure.all_forms(problem, state, ["H", "C"], torch.arange(6))
    monkeypatch.setattr(measure, "CHUNK", 4)
    in_chunks = measure.all_forms(problem, state, ["H", "C"], torch.arange(6))
    for value, expected in zip(in_chunks.with_gauss_newton(v), whole.with_gauss_newton(v), strict=True):
        close(value, expected, rtol=DERIVATIVE)


@pytest.mark.parametrize("kind", STORES)
def test_a_sum_is_the_mean_times_the_labels(kind):
    problem, state = network("graph_network", kind, [1])
    v, tasks, graphs = random_like(shared(problem, state)), ["H", "C"], torch.arange(6)
    batch = problem.table.batch(graphs)
    labels = torch.stack([measure.num_labels(batch.targets[t], batch.labelled.get(t)) for t in tasks])[:, None]
    mean, total = (measure.all_forms(problem, state, tasks, graphs, reduction) for reduction in ("mean", "sum"))
    for of_mean, of_sum in zip(mean.with_gauss_newton(v), total.with_gauss_newton(v), strict=True):
        close(labels * of_mean, of_sum, rtol=DERIVATIVE)
    close(labels * mean.gauss_newton_trace(), total.gauss_newton_trace(), rtol=DERIVATIVE)
    for task, count in zip(tasks, labels, strict=True):
        of_mean, of_sum = (measure.hessian(problem, state, task, graphs, reduction) for reduction in ("mean", "sum"))
        close(count * of_mean.matvec(v), of_sum.matvec(v), rtol=DERIVATIVE)
        close(count[0] * of_mean.loss, of_sum.loss, rtol=DERIVATIVE)


def test_where_graphs_couple_the_trace_takes_a_pass_per_graph(monkeypatch):
    problem, state = network("gin", "molecules", [1, 2])
    tasks, graphs = ["H", "C"], torch.arange(6)
    expected = measure.all_forms(problem, state, tasks, graphs).gauss_newton_trace()

    def coupled(self: forms.Residuals, parameters: Tensor) -> GradientNorms:
        raise NotSeparableError("graphs couple")

    monkeypatch.setattr(forms.Residuals, "gradient_norms", coupled)
    passes = counted(monkeypatch, GradientNorms, "sum_of_squared_norms")
    graph_by_graph = counted(monkeypatch, forms.JetForms, "_trace_graph_by_graph")
    by_jets = measure.all_forms(problem, state, tasks, graphs)
    assert by_jets.gauss_newton_cost() == forms.COST_OF_GRADIENT * (1 + losses.DRAWS) * len(graphs)
    close(by_jets.gauss_newton_trace(), expected, rtol=DERIVATIVE)
    assert (len(passes), len(graph_by_graph)) == (0, 1)


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("conv", NETWORKS)
def test_gauss_newton_part_is_that_of_the_gradients_of_the_residuals(conv, kind, monkeypatch):
    """Residuals are summed over a graph's labels with their signs; the trace takes one pass through all graphs."""
    passes = counted(monkeypatch, GradientNorms, "sum_of_squared_norms")
    graph_by_graph = counted(monkeypatch, forms.JetForms, "_trace_graph_by_graph")
    problem, state = network(conv, kind, [1, 2])
    point, graphs, tasks = shared(problem, state), torch.arange(6), ["H", "C"]
    (whole,) = losses.residuals(problem, state, tasks, graphs, 6)
    jacobian = torch.autograd.functional.jacobian(lambda p: whole.function(p).sum(0), point).movedim(0, 1)  # [M, R, P]
    matrices = point.new_zeros(2, 2, point.shape[1], point.shape[1])
    for graph in range(6):
        for task in range(2):
            mask = (whole.graph == graph) & (whole.task == task)
            for signs in whole.signs:
                c = (signs[mask, None] * jacobian[:, mask]).sum(1)
                matrices[task] += 2 * c[:, :, None] * c[:, None, :] / len(whole.signs)
    by_jets, v = measure.all_forms(problem, state, tasks, graphs), random_like(point)
    close(by_jets.with_gauss_newton(v)[1], torch.einsum("mp,tmpq,mq->tm", v, matrices, v), rtol=DERIVATIVE)
    assert by_jets.gauss_newton_cost() == forms.COST_OF_START + forms.COST_OF_PASS * (1 + losses.DRAWS)
    close(by_jets.gauss_newton_trace(), matrices.diagonal(dim1=2, dim2=3).sum(2), rtol=DERIVATIVE)
    assert (len(passes), len(graph_by_graph)) == (2, 0)
    values = whole.function(point).square()
    for task in range(2):
        expected = sum(loss(point) for loss in measure.shared_losses(problem, state, tasks[task], graphs))
        close(values[:, whole.task == task].sum(1), expected, rtol=DERIVATIVE)


def test_an_operation_without_a_rule_falls_back_to_products():
    point = torch.linspace(-1, 1, 4).double()[None]

    def function(p: Tensor) -> Tensor:
        return F.layer_norm(p, (4,)).pow(3)

    with pytest.raises(NoRuleError, match="native_layer_norm"):
        jets.SecondDerivative(function, point)
    operator = HessianOperator([lambda p: function(p).square().sum(1)], point)
    ones = torch.ones(4, dtype=torch.int64)
    chunk = forms.Residuals(function, 0 * ones, 0 * ones, ones[None], [(4,)], function, lambda count: [0 * ones])
    by_products = forms.quadratic_forms([chunk], 1, point, list, lambda: [operator])
    assert isinstance(by_products, forms.ProductForms)
    v = random_like(point)
    close(by_products.quadratic_forms(v), (v * operator.matvec(v)).sum(1)[None], rtol=ROUNDING)
    assert by_products.gauss_newton_cost() == float("inf")


@pytest.mark.parametrize(
    "function",
    [lambda x: x.max(dim=1).values, lambda x: x.sort(dim=1).values, lambda x: x.topk(2, dim=1).values,
     lambda x: x.median(dim=1).values],
)  # fmt: skip
def test_values_that_come_with_indices_are_not_taken_for_constants(function):
    with pytest.raises(NoRuleError):
        jets.SecondDerivative(lambda x: function(x * x).square(), torch.ones(1, 3))


@pytest.mark.parametrize("function", [lambda x: F.softplus(x, beta=2.0), lambda x: torch.add(x, x, alpha=2)])
def test_options_that_a_rule_does_not_know_are_refused(function):
    with pytest.raises(NoRuleError):
        jets.SecondDerivative(lambda x: function(x).sum(1), torch.ones(1, 3))


def written_into(p: Tensor) -> Tensor:
    z = torch.zeros(len(p), 3, dtype=p.dtype)
    z[:, 0] = p.exp().sum(1)
    return z


def changed_by_a_view(p: Tensor) -> Tensor:
    z = p.exp()
    z[:, 0].mul_(3)
    return z


@pytest.mark.parametrize("function", [written_into, changed_by_a_view])
def test_writing_into_a_tensor_is_refused(function):
    with pytest.raises(NoRuleError):
        jets.SecondDerivative(function, torch.ones(1, 3))


def test_a_function_without_curvature():
    linear = jets.SecondDerivative(lambda x: 3 * x.sum(1), torch.ones(2, 4))
    assert torch.equal(torch.stack(linear(torch.ones(2, 4))), torch.tensor([[12.0] * 2, [12.0] * 2, [0.0] * 2]))
    constant = jets.SecondDerivative(lambda x: torch.ones(2), torch.ones(2, 4))
    assert torch.equal(torch.stack(constant(torch.ones(2, 4))), torch.tensor([[1.0] * 2, [0.0] * 2, [0.0] * 2]))


def test_the_point_is_left_alone():
    point = torch.ones(1, 3, requires_grad=True)
    jets.SecondDerivative(lambda p: p.pow(3).sum(1), point)(torch.ones(1, 3))
    assert point.grad is None
    assert torch.equal(point.detach(), torch.ones(1, 3))
