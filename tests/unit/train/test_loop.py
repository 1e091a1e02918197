"""Early stopping, best weights, and members that leave, join, stop or fail."""

from __future__ import annotations

import pytest
import torch
from helpers.problems import both, make, start
from helpers.stores import lattice_store
from helpers.tolerances import ROUNDING, close

from ensemble_mtl.train.loop import keep_best, out_of_patience, run_epoch
from ensemble_mtl.train.state import joined
from ensemble_mtl.train.step import Errors, errors_on, validate

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
    best_index = torch.stack(losses).argmin(0)
    assert torch.equal(state["best.epoch"], best_index + 1)
    assert len(set(best_index.tolist())) > 1
    for m, epoch in enumerate(best_index.tolist()):
        assert torch.equal(state["best.parameters"][m], history[epoch][0][m])
        assert torch.equal(state["best.buffers"][m], history[epoch][1][m])
        assert state["best.loss"][m] == losses[epoch][m]


def test_test_errors_are_reported_and_change_nothing():
    untested, tested = make(STORE), make(STORE, test_every=2)
    expected_state, state = start(untested, [0, 1]), start(tested, [0, 1])
    tested_epochs = []
    for epoch in range(1, 5):
        expected = run_epoch(untested, expected_state, both(untested, 2))
        report = run_epoch(tested, state, both(tested, 2))
        assert expected.test is None
        assert torch.equal(report.val_loss, expected.val_loss)
        if report.test is not None:
            tested_epochs.append(epoch)
            assert torch.equal(report.test.mae, errors_on(tested, state, tested.test).mae)
    assert tested_epochs == [2, 4]
    for name, value in expected_state.tensors.items():
        assert "seconds" in name or torch.equal(value, state[name]), name


@pytest.mark.parametrize("options", [{}, {"test_every": 1}, {"weighting": {"name": "uncertainty"}}])
def test_a_report_on_a_part_of_the_members_is_theirs(options):
    problem = make(STORE, **options)
    report = run_epoch(problem, start(problem, [0, 1, 2]), both(problem, 3))
    part = report.take([2, 0])
    for name, value in vars(report).items():
        taken = getattr(part, name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(taken, value[[2, 0]]), name
        elif isinstance(value, Errors):
            assert torch.equal(torch.stack(taken), torch.stack(value)[:, [2, 0]]), name
        else:
            assert taken == value, name


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
    ended = []
    for _ in range(3):
        run_epoch(problem, state, weights)
        ended.append(out_of_patience(problem.config, state).tolist()[0])
    assert ended == [False, False, True]


def test_no_early_stopping_if_left_out():
    problem = make(STORE, early_stopping=None)
    state = start(problem, [0])
    run_epoch(problem, state, both(problem, 1))
    state["best.loss"][0] = -1.0
    for _ in range(15):
        run_epoch(problem, state, both(problem, 1))
        assert not out_of_patience(problem.config, state).any()


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
    together, separated = start(problem, [0, 1, 2]), start(problem, [0, 1, 2])
    for _ in range(2):
        run_epoch(problem, together, both(problem, 3))
        run_epoch(problem, separated, both(problem, 3))
    third, first_two = separated.take([2]), separated.take([0, 1])
    for _ in range(2):
        run_epoch(problem, together, both(problem, 3))
        run_epoch(problem, third, both(problem, 1))
        run_epoch(problem, first_two, both(problem, 2))
    rejoined = joined([first_two, third])
    assert len(rejoined) == 3
    assert rejoined.epoch == 4
    for name, value in together.tensors.items():
        if "seconds" not in name:
            close(rejoined[name], value, rtol=ROUNDING)


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
