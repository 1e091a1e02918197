"""A member of a stack equals the plain PyG model: its outputs, gradients and whole training runs."""

from __future__ import annotations

import pytest
import torch
from helpers.problems import make, start
from helpers.stores import STORES, lattice_store, molecule_store
from helpers.tolerances import DERIVATIVE, ROUNDING, close
from torch import Tensor
from torch_geometric.data import Batch

from ensemble_mtl.config import registry
from ensemble_mtl.models.reference import ReferenceModel, member_state_dict, reference_model
from ensemble_mtl.train.loop import batches, train_epoch
from ensemble_mtl.train.state import StackState
from ensemble_mtl.train.step import Problem, losses_and_gradient

NAMES = registry.names("models.conv")


def plain(problem: Problem, state: StackState, row: int) -> ReferenceModel:
    model = problem.model
    reference = reference_model(
        model.spec, model.degrees, model.node_tasks, model.spec.config.trunk.pooling, torch.float64
    )
    member = member_state_dict(problem.layout, problem.buffers, state["parameters"], state["buffers"], row)
    reference.load_state_dict(member, strict=True)
    return reference


def plain_loss(reference: ReferenceModel, batch: Batch, weights: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for (task, output), weight in zip(reference(batch).items(), weights, strict=True):
        labelled = ~batch[f"y_{task}"].isnan()
        if not labelled.any():
            continue
        total = total + weight * (output[labelled] - batch[f"y_{task}"][labelled]).square().mean()
    return total


def flat_gradient(problem: Problem, reference: ReferenceModel) -> Tensor:
    named = dict(reference.named_parameters())
    return torch.cat([named[name].grad.flatten() for name in problem.layout.specs])


@pytest.mark.parametrize("pooling", ["mean", "sum"])
@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_equal_plain_pyg(name, kind, pooling):
    edges = 3 if registry.family("models.conv").load(name).EDGE_FEATURES else 0
    problem = make(STORES[kind](12), conv=name, edge_features=edges, pooling=pooling)
    state, weights = start(problem, [0, 1]), torch.tensor([[1.0, 0.5], [0.3, 2.0]], dtype=torch.float64)
    before = state.take([0, 1])
    graphs = torch.tensor([7, 0, 2, 5, 3])
    _, gradient = losses_and_gradient(problem, state, weights, graphs)
    batch = problem.table.batch(graphs)
    named, running = problem.layout.unflatten(before["parameters"]), problem.buffers.unflatten(state["buffers"])
    outputs = problem.model(named, running, batch, training=False)
    for m in range(2):
        reference = plain(problem, before, m)
        plain_loss(reference, batch.to_pyg(), weights[m]).backward()
        close(gradient[m], flat_gradient(problem, reference), rtol=DERIVATIVE)
        reference.eval()
        for task, expected in reference(batch.to_pyg()).items():
            value = outputs[task][m]
            close(value if value.dim() == 1 else value.T.flatten(), expected.detach(), rtol=ROUNDING)


def test_species_inputs_whose_extrema_tie_give_the_same_gradient():
    """Where neighbours are equal, PyG shares the gradient among them, and a stack gives it to the first."""
    problem = make(lattice_store(8))
    problem.table._x.copy_(problem.table._x.sign())
    state, weights = start(problem, [4]), torch.ones(1, 2, dtype=torch.float64)
    reference, graphs = plain(problem, state, 0), torch.arange(5)
    _, gradient = losses_and_gradient(problem, state, weights, graphs)
    plain_loss(reference, problem.table.batch(graphs).to_pyg(), weights[0]).backward()
    close(gradient[0], flat_gradient(problem, reference), rtol=DERIVATIVE)


@pytest.mark.parametrize(
    ("name", "options", "optimizer"),
    [
        ("adam", {"lr": 0.01}, torch.optim.Adam),
        ("adam", {"lr": 0.01, "weight_decay": 0.1, "betas": (0.8, 0.99)}, torch.optim.Adam),
        ("adamw", {"lr": 0.01, "weight_decay": 0.1}, torch.optim.AdamW),
    ],
)
@pytest.mark.parametrize("store", [lattice_store(13, missing=0.3), molecule_store(13, missing=0.3)])
def test_thirty_steps_equal_a_plain_training_loop(store, name, options, optimizer):
    # Biases before a batch norm have gradient 0 up to rounding, which Adam with torch's
    # eps of 1e-8 would scale up by 1e8; this eps keeps it rounding.
    options = {**options, "eps": 1e-4}
    problem = make(store, optimizer={"name": name, **options})
    state, weights = start(problem, [0, 5]), torch.tensor([[1.0, 0.5], [0.3, 2.0]], dtype=torch.float64)
    references = [plain(problem, state, m) for m in range(2)]
    optimizers = [optimizer(reference.parameters(), **options) for reference in references]
    for epoch in range(10):  # three batches each
        for graphs in batches(problem, epoch):
            for reference, steps, weight in zip(references, optimizers, weights, strict=True):
                steps.zero_grad()
                plain_loss(reference, problem.table.batch(graphs).to_pyg(), weight).backward()
                steps.step()
        train_epoch(problem, state, weights)
    for m, reference in enumerate(references):
        member = member_state_dict(problem.layout, problem.buffers, state["parameters"], state["buffers"], m)
        for key, value in reference.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                close(member[key], value, rtol=DERIVATIVE)


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_names_are_the_stack_s(name):
    problem = make(lattice_store(8), conv=name)
    reference = plain(problem, start(problem, [0]), 0)
    counts = {key for key in reference.state_dict() if key.endswith("num_batches_tracked")}
    assert set(reference.state_dict()) - counts == {*problem.layout.specs, *problem.buffers.specs}
    assert {key for key, _ in reference.named_parameters()} == set(problem.layout.specs)


def test_handed_over_weights_are_a_copy():
    problem = make(lattice_store(8))
    state = start(problem, [0])
    member = member_state_dict(problem.layout, problem.buffers, state["parameters"], state["buffers"], 0)
    before = state["parameters"].clone()
    for value in member.values():
        value.zero_()
    assert torch.equal(state["parameters"], before)
