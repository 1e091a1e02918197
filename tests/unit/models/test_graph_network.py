"""The graph network of a stack is the published equations, in plain torch, to second order."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.problems import make, start
from helpers.stores import STORES, store
from helpers.tolerances import DERIVATIVE, ROUNDING, close
from helpers.trunks import with_trunk
from torch import Tensor

from ensemble_mtl.config.sections import ModelConfig
from ensemble_mtl.data import topology as topologies
from ensemble_mtl.data.batch import GraphBatch
from ensemble_mtl.data.columns import GraphStore
from ensemble_mtl.models.reference import member_state_dict, reference_model
from ensemble_mtl.models.spec import ModelSpec
from ensemble_mtl.models.trunk.base import Features
from ensemble_mtl.train import checkpoint
from ensemble_mtl.train.loss import task_losses
from ensemble_mtl.train.step import Problem, losses_and_gradient

TASKS = ("H", "C", "G")  # two tasks of graphs, and one of nodes
MEMBERS = 2
KINDS = {
    **STORES,
    "atoms": lambda n: store([(1, []), (1, []), (2, [])], [g % 3 for g in range(n)]),  # no edge in any batch
    "one-topology-without-edges": lambda n: store([(1, [])], [0] * n),
    "one-edge": lambda n: store([(1, []), (2, [(0, 1, 1.0)])], [0, *[1] * (n - 1)]),
}


def problem_of(columns: GraphStore, edge_features: int = 0, **options) -> Problem:
    problem = make(columns, TASKS, conv="pna", edge_features=edge_features)
    return with_trunk(problem, "graph_network", **{"steps": 3, "width": 4, **options})


def weights(problem: Problem) -> Tensor:
    """``[M, P]`` weights, with biases and norms that differ from their initial constants."""
    flat = start(problem, list(range(MEMBERS)))["parameters"]
    return flat + 0.2 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(1), dtype=flat.dtype)


def plain(problem: Problem, flat: Tensor, batch: GraphBatch) -> dict[str, Tensor]:
    """Outputs of every member, from the plain torch module."""
    model, named = problem.model, problem.layout.unflatten(flat)
    reference = reference_model(model.spec, model.degrees, model.node_tasks, "mean", torch.float64)
    no_buffers = torch.zeros(len(flat), 0, dtype=flat.dtype)
    reference.load_state_dict(member_state_dict(problem.layout, problem.buffers, flat, no_buffers, 0), strict=True)
    members = []
    for m in range(len(flat)):
        weights_of_member = {name: value[m] for name, value in named.items()}
        out = torch.func.functional_call(reference, weights_of_member, (batch.to_pyg(),))
        graphs = batch.x.shape[2]
        members.append({t: v.unflatten(0, (graphs, -1)).T if t in model.node_tasks else v for t, v in out.items()})
    return {task: torch.stack([member[task] for member in members]) for task in members[0]}


def derivatives(run, problem: Problem, batch: GraphBatch) -> list[Tensor]:
    """Outputs, and for each task the gradient of its loss and a product with the loss's Hessian."""
    flat = weights(problem).requires_grad_()
    direction = torch.randn(flat.shape, generator=torch.Generator().manual_seed(2), dtype=flat.dtype)
    outputs = run(flat)
    results = [value.detach() for value in outputs.values()]
    for losses in task_losses(outputs, batch, TASKS).unbind(1):
        (gradient,) = torch.autograd.grad(losses.sum(), flat, create_graph=True)
        (product,) = torch.autograd.grad((gradient * direction).sum(), flat, retain_graph=True)
        results += [gradient.detach(), product]
    return results


@pytest.mark.parametrize("edge_features", [0, 3])
@pytest.mark.parametrize("share_weights", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_plain_equations_to_second_order(kind, share_weights, edge_features):
    problem = problem_of(KINDS[kind](12), edge_features, share_weights=share_weights)
    batch = problem.table.batch(torch.tensor([7, 0, 2, 5, 3]))
    of_stack = derivatives(
        lambda flat: problem.model(problem.layout.unflatten(flat), {}, batch, training=True), problem, batch
    )
    of_module = derivatives(lambda flat: plain(problem, flat, batch), problem, batch)
    for value, expected in zip(of_stack, of_module, strict=True):
        close(value, expected, rtol=DERIVATIVE)
    assert all(float(product.abs().max()) > 1e-3 for product in of_module[len(TASKS) + 1 :: 2])


def test_second_derivatives_by_forward_mode_are_those_of_backward_mode():
    """Estimators by forward mode rely on it."""
    problem = problem_of(STORES["molecules"](6), 3)
    batch, flat = problem.table.batch(torch.arange(6)), weights(problem)
    v = torch.randn(flat.shape, generator=torch.Generator().manual_seed(4), dtype=flat.dtype)

    def loss(point: Tensor) -> Tensor:
        outputs = problem.model(problem.layout.unflatten(point), {}, batch, training=False)
        return task_losses(outputs, batch, TASKS)  # [M, T]

    def slope(point: Tensor) -> Tensor:
        return torch.func.jvp(loss, (point,), (v,))[1]

    _, forward = torch.func.jvp(slope, (flat,), (v,))
    point = flat.clone().requires_grad_()
    for task, losses in enumerate(loss(point).unbind(1)):
        (gradient,) = torch.autograd.grad(losses.sum(), point, create_graph=True)
        (product,) = torch.autograd.grad((gradient * v).sum(), point, retain_graph=True)
        close(forward[:, task], (product * v).sum(1), rtol=DERIVATIVE)


def features(problem: Problem, batch: GraphBatch) -> Features:
    return problem.model.trunk(problem.layout.unflatten(weights(problem)), {}, batch, training=False)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_nodes_and_edges_does_not_matter(kind):
    problem = problem_of(KINDS[kind](7), 3)
    batch = problem.table.batch(torch.arange(7))
    generator, topology = torch.Generator().manual_seed(3), batch.topology
    order = torch.randperm(topology.num_nodes, generator=generator)
    source, target = order[topology.source], order[topology.target]
    shuffle = torch.randperm(len(source), generator=generator)
    edges = shuffle[torch.argsort(target[shuffle], stable=True)]
    x, graph_of_node = torch.empty_like(batch.x), batch.graph_of_node
    x[:, order] = batch.x
    if graph_of_node is not None:
        graph_of_node = torch.empty_like(graph_of_node)
        graph_of_node[order] = batch.graph_of_node
    moved = topologies.make(
        topology.num_nodes,
        torch.stack([source, target])[:, edges],
        topology.edge_attr[edges],
        dtype=torch.float64,
        shared=topology.adjacency is not None,
    )
    permuted = features(problem, replace(batch, x=x, topology=moved, graph_of_node=graph_of_node))
    expected = features(problem, batch)
    close(permuted.nodes[:, order], expected.nodes, rtol=ROUNDING)
    close(permuted.graphs, expected.graphs, rtol=ROUNDING)


def test_edges_have_a_direction():
    """Source and target are not exchanged, nor are h_out and h_in."""
    problem = problem_of(store([(1, []), (2, [(0, 1, 1.0)])], [0, 1, 1, 1, 1]))
    batch = problem.table.batch(torch.tensor([1]))
    topology = topologies.make(2, torch.tensor([[1], [0]]), None, dtype=torch.float64, shared=False)
    forth, back = features(problem, batch), features(problem, replace(batch, topology=topology))
    assert (forth.graphs - back.graphs).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["open", "molecules"])
def test_graphs_of_a_batch_do_not_touch_each_other(kind):
    problem = problem_of(KINDS[kind](6), 3)
    batch = problem.table.batch(torch.arange(6))
    x = batch.x.clone()
    if batch.graph_of_node is None:
        x[:, :, 0] = float("nan")
    else:
        x[:, batch.graph_of_node == 0] = float("nan")
    broken = features(problem, replace(batch, x=x)).graphs
    assert broken[:, 0].isnan().any()
    assert torch.equal(broken[:, 1:], features(problem, batch).graphs[:, 1:])


def test_a_checkpoint_without_running_statistics_is_read_back(tmp_path):
    problem = problem_of(STORES["molecules"](6))
    state = start(problem, [3])
    checkpoint.save(tmp_path / "checkpoint.pt", "member", state, {})
    loaded, _ = checkpoint.load(tmp_path / "checkpoint.pt", "member", torch.device("cpu"))
    assert loaded["buffers"].shape == (1, 0)
    assert torch.equal(loaded["parameters"], state["parameters"])


@pytest.mark.parametrize("share_weights", [True, False])
def test_every_weight_is_trained(share_weights):
    problem = problem_of(STORES["molecules"](12), 3, share_weights=share_weights)
    state = start(problem, [0])
    _, gradient = losses_and_gradient(problem, state, torch.ones(1, 3, dtype=torch.float64), torch.arange(8))
    for name, of_tensor in problem.layout.unflatten(gradient).items():
        assert of_tensor.abs().max() > 1e-9, name


def test_members_differ_from_one_another():
    problem = problem_of(STORES["molecules"](6))
    graphs = features(problem, problem.table.batch(torch.arange(6))).graphs
    assert (graphs[0] - graphs[1]).abs().max() > 1e-2


@pytest.mark.parametrize(("share_weights", "expected"), [(True, 383_744), (False, 1_915_392)])
def test_number_of_weights_of_appendix_a(share_weights, expected):
    """A step has φE and φV of 256 -> 256 -> 256 -> 64, φU of 192 -> 192 -> 192 -> 64, and three norms of 64."""
    config = ModelConfig(trunk={"name": "graph_network", "share_weights": share_weights})
    step = 2 * (2 * (256 * 256 + 256) + 256 * 64 + 64) + 2 * (192 * 192 + 192) + 192 * 64 + 64 + 3 * 2 * 64
    spec = ModelSpec(config, ("E1",), in_features=9, edge_features=4)
    assert spec.num_parameters()["shared"] == (9 + 4) * 64 + (1 if share_weights else 5) * step == expected


def test_initial_variances_are_those_of_flax():
    problem = problem_of(STORES["molecules"](6), 3, width=16)
    named = problem.layout.unflatten(problem.layout.initial(range(10), torch.float64))
    for name, value in named.items():
        if name.startswith("trunk.") and name.endswith(".weight") and "norm" not in name:
            expected = torch.tensor(value.shape[-1] ** -0.5, dtype=torch.float64)
            # the relative error of the variance of n uniform draws is sqrt(0.8 / n), here 0.07 at most; five of these
            close(value.std(), expected, rtol=5 * (0.8 / value[..., 0].numel() / value.shape[-1]) ** 0.5)
        elif name.startswith("trunk.") and name.endswith(".bias"):
            assert not value.any()
