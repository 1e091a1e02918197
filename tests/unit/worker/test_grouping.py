"""How many members train together depends on the time of a step, on memory, and on earlier attempts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import problems
from helpers.shards import LATTICE, Shards
from helpers.shards import settings as study_of
from helpers.stores import STORES

from ensemble_mtl.core.runtime.memory import is_shortage
from ensemble_mtl.study.attempts import AttemptEvent, Phase, add_event, read_events
from ensemble_mtl.study.member_files import log
from ensemble_mtl.worker import grouping, member_state
from ensemble_mtl.worker.grouping import MIN_STEPS_FOR_TRIAL, into_halves, into_stacks, quickest

MEMBERS = 6


def setting(epochs: int = MIN_STEPS_FOR_TRIAL):
    problem = problems.make(STORES["open"](), epochs=epochs)
    return problem, problems.start(problem, list(range(MEMBERS)))


@pytest.mark.parametrize(
    ("seconds_by_size", "expected"),
    [
        ({6: 1.2, 3: 0.9, 2: 0.1}, 6),  # 0.2 against 0.3 per member: no further try
        ({6: 1.2, 3: 0.3, 2: 0.2, 1: 0.2}, 3),
        ({6: 1.2, 3: 0.58}, 6),  # hardly quicker
        ({6: float("inf"), 3: 0.9, 2: 0.9}, 3),  # short of memory
        ({6: float("inf"), 3: float("inf"), 2: float("inf"), 1: float("inf")}, 1),
    ],
)
def test_the_quickest_per_member_is_taken(monkeypatch, seconds_by_size, expected):
    monkeypatch.setattr(grouping, "_step_seconds", lambda problem, state, graphs: seconds_by_size[len(state)])
    assert quickest(*setting()) == expected


def test_trying_changes_nothing():
    problem, state = setting()
    before = {name: value.clone() for name, value in state.tensors.items()}
    assert 1 <= quickest(problem, state) <= MEMBERS
    for name, value in state.tensors.items():
        assert torch.equal(value, before[name]), name


def test_short_training_is_not_worth_a_try(monkeypatch):
    monkeypatch.delattr(grouping, "_step_seconds")
    assert quickest(*setting(epochs=1)) == MEMBERS


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**55), lambda: np.empty(2**55)])
def test_a_shortage_of_memory_is_recognised(allocate):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    assert is_shortage(caught.value)


def test_other_faults_are_no_shortage_of_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.ones(2) @ torch.ones(3)
    assert not is_shortage(caught.value)
    assert not is_shortage(ValueError("out of memory"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return Shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def untrained(shards):
    """A study of six members that learn the same tasks, what they are trained on, and the members."""
    written = study_of(LATTICE, "gin", seeds=MEMBERS)
    study = shards.study(written)
    return study, shards.problem(written, "cpu"), study.plan()


def sizes(stacks):
    return [len(stack) for stack in stacks]


def test_members_of_one_epoch_form_a_stack(untrained):
    study, problem, members = untrained
    run, state = member_state.load(study, problem, members[2])
    state.epoch = 5
    member_state.save(study, problem, run, state)
    assert into_stacks(study, problem, members) == [[*members[:2], *members[3:]], [members[2]]]
    assert into_halves(study, problem, members, 4) == [members[:2], members[3:5], [members[5]], [members[2]]]


def test_stacks_are_as_large_as_the_trial_says(untrained, monkeypatch):
    study, problem, members = untrained
    monkeypatch.setattr(grouping, "quickest", lambda problem, state: 4 if len(state) == MEMBERS else 1)
    assert into_stacks(study, problem, members) == [members[:4], members[4:]]
    events = [(event.phase, event.epoch, event.stack) for event in read_events(study, members[5])]
    assert events == [(Phase.TRYING, 0, MEMBERS), (Phase.GROUPED, 0, 4)]


def test_a_stack_whose_weights_alone_are_too_much_is_halved(untrained, monkeypatch):
    study, problem, members = untrained

    def short(states):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(grouping, "joined", short)
    assert sizes(into_stacks(study, problem, members)) == [3, 3]


@pytest.mark.parametrize(
    ("last_events", "largest"),
    [
        ([], 6),
        ([AttemptEvent(Phase.TRYING, 0, 6)], 3),
        ([AttemptEvent(Phase.TRAINING, 0, 6)], 3),
        ([AttemptEvent(Phase.TRAINING, 0, 6), AttemptEvent(Phase.TRYING, 0, 3)], 2),
        ([AttemptEvent(Phase.TRAINING, 4, 6)], 6),  # its checkpoint is another by now
        *(
            ([AttemptEvent(Phase.TRAINING, 0, 6), AttemptEvent(phase, 0, 6)], 6)
            for phase in Phase
            if phase not in (Phase.TRYING, Phase.TRAINING)
        ),
    ],
)
def test_a_stack_is_halved_after_a_sudden_end(untrained, last_events, largest):
    study, problem, members = untrained
    for event in last_events:
        add_event(study, members[1], event)
    assert max(sizes(into_stacks(study, problem, members))) == largest


@pytest.mark.parametrize("text", ["a person's remark", "started at epoch 0 in a stack of 2", None])
def test_the_log_decides_nothing(untrained, text):
    study, problem, members = untrained
    for member in members:
        add_event(study, member, AttemptEvent(Phase.TRAINING, 0, MEMBERS))
        log(study, member, f"started at epoch 0 in a stack of {MEMBERS}")
        if text is None:
            study.log(member).unlink()
        else:
            log(study, member, text)
    assert sizes(into_stacks(study, problem, members)) == [3, 3]


def test_a_damaged_checkpoint_is_no_sudden_end(untrained):
    """Its member is at the epoch at which the last attempt began, though that attempt got on."""
    study, problem, members = untrained
    add_event(study, members[0], AttemptEvent(Phase.TRAINING, 0, MEMBERS))
    study.checkpoint(members[0]).write_text("damaged")
    assert sizes(into_stacks(study, problem, members)) == [MEMBERS]
    assert read_events(study, members[0])[1].phase is Phase.RESET
