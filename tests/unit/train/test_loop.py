"""Early stopping, best weights, and members that leave, join, stop or fail."""

from __future__ import annotations

import pytest
import torch
from helpers.problems import both, make, start
from helpers.stores import lattice_store
from helpers.tolerances import ROUNDING, close

from ensemble_mtl.train.loop import keep_best, run_epoch
from ensemble_mtl.train.state import joined
from ensemble_mtl.train.step import errors_on, validate

STORE = lattice_store(16)


def test_the_best_weights_are_those_of_the_least_validation_loss():
    problem = make(STORE, optimizer={"name": "adam", "lr": 0.05})
    state, weights = start(problem, [0, 1, 2]), both(problem, 3)
    history, losses = [], []
    for _ in range(12):
        report = run_epoch(problem, state, weights)
        history.append((state["parameters"].clone(), state["buffers"].clone()))
        losses.append(report.val_loss)
        close(report.val_loss, (validate(problem, state) * weights).sum(1), rtol=ROUNDING)
    best = torch.stack(losses).argmin(0)
    assert torch.equal(state["best.epoch"], best + 1)
    assert len(set(best.tolist())) > 1
    for m, epoch in enumerate(best.tolist()):
        assert torch.equal(state["best.parameters"][m], history[epoch][0][m])
        assert torch.equal(state["best.buffers"][m], history[epoch][1][m])
        assert state["best.loss"][m] == losses[epoch][m]


def test_test_errors_are_told_and_change_nothing():
    plain, curves = make(STORE), make(STORE, test_every=2)
    one, other = start(plain, [0, 1]), start(curves, [0, 1])
    told = []
    for _ in range(4):
        expected, report = run_epoch(plain, one, both(plain, 2)), run_epoch(curves, other, both(curves, 2))
        assert expected.test is None
        assert torch.equal(report.val_loss, expected.val_loss)
        told.append(report.test and torch.equal(report.test.mae, errors_on(curves, other, curves.test).mae))
    assert told == [None, True, None, True]
    for name, value in one.tensors.items():
        assert "seconds" in name or torch.equal(value, other[name]), name


def test_a_tie_keeps_the_earlier_weights():
    problem = make(STORE)
    state = start(problem, [0])
    for epoch, loss in enumerate([2.0, 1.0, 1.0, float("nan")], start=1):
        state.epoch = epoch
        state["parameters"].fill_(epoch)
        keep_best(state, torch.tensor([loss], dtype=torch.float64))
    assert state["best.epoch"].tolist() == [2]
    assert (state["best.parameters"] == 2).all()


def test_patience_counts_epochs_since_the_best():
    problem = make(STORE, early_stopping={"patience": 3})
    state, weights = start(problem, [0, 1]), both(problem, 2)
    run_epoch(problem, state, weights)
    state["best.loss"][0] = -1.0  # nothing can beat it
    stopped = [run_epoch(problem, state, weights).stopped.tolist()[0] for _ in range(3)]
    assert stopped == [False, False, True]


def test_no_early_stopping_if_left_out():
    problem = make(STORE, early_stopping=None)
    state = start(problem, [0])
    run_epoch(problem, state, both(problem, 1))
    state["best.loss"][0] = -1.0
    assert not any(run_epoch(problem, state, both(problem, 1)).stopped.any() for _ in range(15))


def test_only_the_member_whose_loss_is_not_finite_fails():
    problem = make(STORE)
    state = start(problem, [0, 1])
    state["parameters"][1, 0] = float("inf")
    report = run_epoch(problem, state, both(problem, 2))
    assert report.failed.tolist() == [False, True]
    assert state["best.epoch"].tolist() == [1, 0]


def test_a_task_that_a_member_does_not_learn_cannot_fail_it():
    problem = make(STORE)
    state = start(problem, [0])
    problem.layout.unflatten(state["parameters"])["heads.H.1.bias"].fill_(1e200)  # its square overflows
    weights = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    report = run_epoch(problem, state, weights)
    assert report.val.mse[0, 0].isinf()
    assert report.val_loss.isfinite().all()


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
def test_leaving_and_joining_change_no_number(schedule):
    problem = make(STORE, schedule=schedule, optimizer={"name": "adam", "eps": 1e-2})  # eps: see test_step
    whole, parted = start(problem, [0, 1, 2]), start(problem, [0, 1, 2])
    for _ in range(2):
        run_epoch(problem, whole, both(problem, 3))
        run_epoch(problem, parted, both(problem, 3))
    left, right = parted.take([2]), parted.take([0, 1])
    for _ in range(2):
        run_epoch(problem, whole, both(problem, 3))
        run_epoch(problem, left, both(problem, 1))
        run_epoch(problem, right, both(problem, 2))
    again = joined([right, left])
    assert len(again) == 3
    assert again.epoch == 4
    for name, value in whole.tensors.items():
        if "seconds" not in name:
            close(again[name], value, rtol=ROUNDING)


def test_taking_members_copies_them():
    state = start(make(STORE), [0, 1])
    taken = state.take([1])
    taken["parameters"].zero_()
    assert state["parameters"][1].any()


def test_members_of_unequal_age_cannot_join():
    problem = make(STORE)
    old, young = start(problem, [0]), start(problem, [1])
    run_epoch(problem, old, both(problem, 1))
    with pytest.raises(ValueError, match=r"at one epoch, got \[0, 1\]"):
        joined([old, young])


def test_a_member_pays_its_share_of_the_stack_s_time():
    problem = make(STORE)
    state = start(problem, [0, 1])
    report = run_epoch(problem, state, both(problem, 2))
    close(state["seconds"], torch.full((2,), report.seconds / 2, dtype=torch.float64), rtol=ROUNDING)
    close(state["stack_seconds"], torch.full((2,), report.seconds, dtype=torch.float64), rtol=ROUNDING)
