"""Members of a stack do not touch each other, and missing labels count for nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.problems import both, make, start
from helpers.stores import lattice_store, molecule_store
from helpers.tolerances import ROUNDING, close

from ensemble_mtl.config import registry
from ensemble_mtl.train.loop import batches, train_epoch
from ensemble_mtl.train.loss import task_losses
from ensemble_mtl.train.step import errors_on, losses_and_gradient, predict, validate

STORES = [lattice_store(16, missing=0.2), molecule_store(16, missing=0.2)]
EPOCHS = 5  # of four batches


@pytest.mark.parametrize("store", STORES, ids=["shared", "ragged"])
@pytest.mark.parametrize("conv", registry.names("models.conv"))
def test_a_member_with_missing_labels_does_not_depend_on_its_stack(conv, store):
    problem = make(store, conv=conv)
    weights = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    stacked = start(problem, [3, 4, 5])
    losses = torch.stack([torch.stack(train_epoch(problem, stacked, weights), 1) for _ in range(EPOCHS)])
    for m, seed in enumerate([3, 4, 5]):
        alone = start(problem, [seed])
        row = weights[m : m + 1]
        expected = torch.stack([torch.stack(train_epoch(problem, alone, row), 1) for _ in range(EPOCHS)])
        assert torch.equal(losses[:, m], expected[:, 0])
        for name in stacked.tensors:
            assert torch.equal(stacked[name][m], alone[name][0]), name
        assert torch.equal(validate(problem, stacked)[m], validate(problem, alone)[0])


def test_a_member_of_one_task_equals_a_model_that_has_no_other_head():
    store = lattice_store(16)
    wide, narrow = make(store, ("H", "C")), make(store, ("C",))
    together, alone = start(wide, [2]), start(narrow, [2])
    for _ in range(EPOCHS):
        train_epoch(wide, together, torch.tensor([[0.0, 1.0]], dtype=torch.float64))
        train_epoch(narrow, alone, both(narrow, 1))
    actual, expected = (p.layout.unflatten(s["parameters"]) for p, s in ((wide, together), (narrow, alone)))
    for name, value in expected.items():
        close(actual[name], value, rtol=ROUNDING)


def test_a_member_gone_astray_disturbs_no_other():
    problem = make(STORES[0])
    healthy, mixed = start(problem, [1, 2]), start(problem, [1, 2])
    mixed["parameters"][1] = float("nan")
    for _ in range(3):
        train_epoch(problem, healthy, both(problem, 2))
        train_epoch(problem, mixed, both(problem, 2))
    assert torch.equal(mixed["parameters"][0], healthy["parameters"][0])
    assert torch.equal(validate(problem, mixed)[0], validate(problem, healthy)[0])


@pytest.mark.parametrize("store", STORES, ids=["shared", "ragged"])
def test_missing_labels_equal_dropped_ones(store):
    problem = make(store)
    graphs = torch.arange(len(store))
    batch = problem.table.batch(graphs)
    outputs = {task: torch.randn(2, *batch.targets[task].shape, dtype=torch.float64) for task in ("H", "C")}
    is_labelled = torch.tensor(~np.isnan(store.targets["energy"]))
    assert 0 < is_labelled.sum() < len(store)
    expected = (outputs["H"][:, is_labelled] - torch.tensor(store.targets["energy"])[is_labelled]).square().mean(1)
    close(task_losses(outputs, batch, ["H", "C"])[:, 0], expected, rtol=ROUNDING)


def test_what_stands_in_place_of_a_missing_label_is_never_read():
    problem = make(STORES[0])
    graphs, state, weights = torch.arange(6), start(problem, [0]), both(make(STORES[0]), 1)
    missing = problem.table._labelled["H"] == 0
    assert missing[:6].any()
    _, expected = losses_and_gradient(problem, start(problem, [0]), weights, graphs)
    problem.table._targets["H"][missing] = 1e6
    _, gradient = losses_and_gradient(problem, state, weights, graphs)
    assert torch.equal(gradient, expected)


def test_a_batch_without_any_label_of_a_task_has_loss_and_gradient_zero():
    problem = make(STORES[0], ("H",))
    missing = torch.nonzero(problem.table._labelled["H"] == 0).flatten()
    losses, gradient = losses_and_gradient(problem, start(problem, [0]), both(problem, 1), missing[:1])
    assert float(losses) == 0.0
    assert not gradient.any()


@pytest.mark.parametrize("store", STORES, ids=["shared", "ragged"])
def test_validation_counts_each_label_once_whatever_the_batches(store, monkeypatch):
    problem = make(store, num_val=7)
    state = start(problem, [0, 1])
    train_epoch(problem, state, both(problem, 2))
    whole = validate(problem, state)
    monkeypatch.setattr("ensemble_mtl.train.step.EVALUATION_BATCH", 3)
    close(validate(problem, state), whole, rtol=ROUNDING)


@pytest.mark.parametrize("store", STORES, ids=["shared", "ragged"])
def test_training_loss_is_the_mean_over_labels(store):
    problem = make(store, optimizer={"name": "adam", "lr": 1e-300})  # so that no weight moves
    state = start(problem, [0])
    squares, labels = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for graphs in batches(problem, 0):
        losses, _ = losses_and_gradient(problem, state, both(problem, 1), graphs)
        batch = problem.table.batch(graphs)
        count = torch.stack([batch.labelled.get(t, torch.ones_like(batch.targets[t])).sum() for t in ("H", "C")])
        squares, labels = squares + losses[0] * count, labels + count
    close(train_epoch(problem, state, both(problem, 1)).mse[0], squares / labels, rtol=ROUNDING)


@pytest.mark.parametrize("store", STORES, ids=["shared", "ragged"])
def test_errors_are_means_over_labels(store):
    """The reference sets predictions and targets side by side, without batches and masks."""
    problem = make(store, optimizer={"name": "adam", "lr": 1e-300})  # so that no weight moves
    state = start(problem, [0, 1])
    before = state["parameters"].clone()
    predicted = predict(problem, before, state["buffers"], problem.test)
    errors = errors_on(problem, state, problem.test)
    for t, (task, target) in enumerate((("H", "energy"), ("C", "charge"))):
        whole = store.targets[target] if task == "H" else np.split(store.targets[target], store.node_ptr[1:-1])
        truth = torch.tensor(np.hstack([whole[g] for g in problem.test]))
        error = (predicted[task] - truth)[:, ~truth.isnan()]
        close(errors.mae[:, t], error.abs().mean(1), rtol=ROUNDING)
        close(errors.mse[:, t], error.square().mean(1), rtol=ROUNDING)
    assert torch.equal(state["parameters"], before)


@pytest.mark.parametrize("store", STORES, ids=["shared", "ragged"])
def test_training_mae_is_of_the_weights_that_met_the_label(store):
    problem = make(store, optimizer={"name": "adam", "lr": 1e-300})  # so that no weight moves
    state = start(problem, [0])
    sizes, labels = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for graphs in batches(problem, 0):
        batch = problem.table.batch(graphs)
        named, buffers = problem.layout.unflatten(state["parameters"]), problem.buffers.unflatten(state["buffers"])
        outputs = problem.model(named, {k: v.clone() for k, v in buffers.items()}, batch, training=True)
        for t, task in enumerate(("H", "C")):
            is_labelled = batch.labelled.get(task, torch.ones_like(batch.targets[task])).bool()
            sizes[t] += (outputs[task][0] - batch.targets[task])[is_labelled].abs().sum()
            labels[t] += is_labelled.sum()
    close(train_epoch(problem, state, both(problem, 1)).mae[0], sizes / labels, rtol=ROUNDING)


@pytest.mark.parametrize("store", STORES, ids=["shared", "ragged"])
def test_predictions_stand_in_the_order_of_their_graphs(store, monkeypatch):
    problem = make(store)
    state = start(problem, [0, 1])
    order = torch.tensor([9, 2, 11, 0, 5])
    predicted = predict(problem, state["parameters"], state["buffers"], order)
    one_by_one = [predict(problem, state["parameters"], state["buffers"], g[None]) for g in order]
    for task in ("H", "C"):
        close(predicted[task], torch.cat([single[task] for single in one_by_one], dim=1), rtol=ROUNDING)


def test_batches_cover_every_graph_once_in_an_order_of_the_epoch_and_the_split():
    problem = make(STORES[0])
    first, repeated, later = (torch.cat(list(batches(problem, epoch))) for epoch in (0, 0, 1))
    assert torch.equal(first, repeated)
    assert not torch.equal(first, later)
    assert torch.equal(first.sort().values, problem.train)
    other_split = torch.cat(list(batches(replace(problem, stream="another split"), 0)))
    assert not torch.equal(first, other_split)
