"""How a shard ends, and in which state it leaves its members."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from helpers.shards import LATTICE, Shards, numbers, settings
from helpers.shards import train as train_undisturbed

from ensemble_mtl.core.runtime.memory import is_shortage
from ensemble_mtl.study.attempts import Phase, read_events
from ensemble_mtl.study.directory import Study
from ensemble_mtl.train import loop
from ensemble_mtl.worker import shard, stack
from ensemble_mtl.worker.context import Supervisor
from ensemble_mtl.worker.shard import train_shard
from ensemble_mtl.worker.stack import Done, Interrupted

WRITTEN = settings(LATTICE, "gin", seeds=3, train={"epochs": 3, "dtype": "float64"})
OUT_OF_MEMORY = torch.OutOfMemoryError("out of memory\nin some detail")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return Shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def study(shards: Shards) -> Study:
    """Three members that learn the same tasks, untrained."""
    return shards.study(WRITTEN)


@pytest.fixture(scope="module")
def expected(shards: Shards) -> dict[str, Any]:
    """Return the numbers of an undisturbed study."""
    undisturbed = shards.study(WRITTEN)
    train_undisturbed(undisturbed)
    return whatever_the_stack(undisturbed)


def whatever_the_stack(study: Study) -> dict[str, Any]:
    """Return the members' numbers, without the sizes of their stacks."""
    content = json.loads(json.dumps(numbers(study)))
    for name, lines in content.items():
        if name.endswith("curves"):
            for line in lines:
                del line["stack"]
    return content


def phases(study: Study) -> list[list[Phase]]:
    """Return the phases of each member's events."""
    return [[event.phase for event in read_events(study, member)] for member in study.plan()]


def train(study: Study, *, stop: bool = False, **options: Any) -> tuple[Done | Interrupted, list[dict[str, Any]]]:
    """Train all members as one shard; return how it ended, and the events that it reported."""
    events: list[dict[str, Any]] = []
    end = train_shard(study, study.plan(), Supervisor(events.append, lambda: stop, **options))
    return end, events


def test_a_shard_is_done_when_its_members_have_results(study: Study, expected: dict[str, Any]) -> None:
    end, events = train(study)
    assert end == Done()
    assert [event["event"] for event in events] == ["epoch"] * 3 + ["done"] * 3
    assert phases(study) == [[Phase.TRYING, Phase.GROUPED, Phase.TRAINING, Phase.FINISHED]] * 3
    assert whatever_the_stack(study) == expected
    assert train(study) == (Done(), [])  # finished ones are left alone


def test_an_interrupted_shard_says_why_and_goes_on(study: Study, expected: dict[str, Any]) -> None:
    end, _ = train(study, stop=True)
    assert end == Interrupted("stopped after epoch 1 (as requested)")
    assert [member[-2:] for member in phases(study)] == [[Phase.TRAINING, Phase.STOPPED]] * 3
    end, events = train(study, deadline=0.0)
    assert isinstance(end, Interrupted)
    assert end.reason.startswith("stopped after epoch 1 (an epoch takes ")
    assert not events
    assert train(study)[0] == Done()
    assert whatever_the_stack(study) == expected


def test_a_stack_that_is_out_of_memory_goes_on_in_halves(
    study: Study, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def short_for_several(problem: Any, state: Any, weights: Any) -> loop.EpochReport:
        if len(state) > 1 and state.epoch == 1:
            raise OUT_OF_MEMORY
        return loop.run_epoch(problem, state, weights)

    monkeypatch.setattr(stack, "run_epoch", short_for_several)
    end, events = train(study)
    assert end == Done()
    assert [event["error"] for event in events if event["event"] == "shortage"] == [
        "3 members need more memory than there is; on with 2",
        "2 members need more memory than there is; on with 1",
    ]
    attempts = [read_events(study, member) for member in study.plan()]
    sizes = [[event.stack for event in events if event.phase is Phase.TRAINING] for events in attempts]
    assert sizes == [[3, 2, 1], [3, 2, 1], [3, 1]]
    assert whatever_the_stack(study) == expected


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, MemoryError()])
def test_a_member_too_large_for_the_memory_fails(
    study: Study, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def short(*arguments: Any) -> loop.EpochReport:
        raise error

    assert is_shortage(error)
    monkeypatch.setattr(stack, "run_epoch", short)
    end, events = train(study)
    assert end == Done()
    assert sum(event["event"] == "failed" for event in events) == 3
    reason = {"OutOfMemoryError": "out of memory", "MemoryError": "MemoryError"}[type(error).__name__]
    for member in study.plan():
        failure = json.loads(study.failure(member).read_text())
        assert f"a single member needs more memory than there is ({reason}); try" in failure["error"]
        assert failure["traceback"] == ""
        assert study.state(member) == "failed"


def test_a_fault_of_the_program_fails_the_members_with_a_traceback(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard, "make_problem", lambda *arguments, **options: {}["absent"])
    end, events = train(study)
    assert end == Done()
    assert [event["event"] for event in events] == ["failed"] * 3
    assert phases(study) == [[Phase.FAILED]] * 3
    failure = json.loads(study.failure(study.plan()[0]).read_text())
    assert (failure["error"], failure["attempts"]) == ("KeyError: 'absent'", 0)
    assert "Traceback" in failure["traceback"]


def test_a_fault_leaves_the_reason_of_a_member_that_failed_before_it(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = study.plan()[0]

    def one_fails_and_then_all(problem: Any, state: Any, weights: Any) -> loop.EpochReport:
        if state.epoch == 1:
            raise KeyError("absent")
        report = loop.run_epoch(problem, state, weights)
        report.failed[0] = True
        return report

    monkeypatch.setattr(stack, "run_epoch", one_fails_and_then_all)
    end, events = train(study)
    assert end == Done()
    failed = {event["member"]: event["error"] for event in events if event["event"] == "failed"}
    assert sum(event["event"] == "failed" for event in events) == len(failed) == 3
    for member in study.plan():
        reason = "the loss is not finite after epoch 1" if member == first else "KeyError: 'absent'"
        assert failed[member.id].startswith(reason)
        assert json.loads(study.failure(member).read_text())["error"] == failed[member.id]
        assert phases(study)[study.plan().index(member)].count(Phase.FAILED) == 1


def test_members_that_another_process_took_over_leave_the_rest_as_they_are(
    study: Study, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members that stand behind them in the stack keep their metrics, too."""
    monkeypatch.setattr(stack, "RENEWAL_SECONDS", -1.0)  # claims are looked at after every epoch
    first, *remaining_members = study.plan()

    def take_over_the_first(event: dict[str, Any]) -> None:
        if event["event"] == "epoch" and event["epoch"] == 1:
            claim = study.claim_file(first)
            claim.write_text(json.dumps({**json.loads(claim.read_text()), "uid": "another"}))

    assert train_shard(study, study.plan(), Supervisor(take_over_the_first, lambda: False)) == Done()
    assert study.unfinished(study.plan()) == [first]
    assert "left to the process that took it over" in study.log(first).read_text()
    assert phases(study)[0][-1] is Phase.TRAINING  # what follows is the other process's to record
    epochs = [json.loads(line)["epoch"] for line in study.metrics(first).read_text().splitlines()]
    assert epochs == [1]
    remaining = Study(
        study.config.model_copy(update={"seeds": tuple(member.seed for member in remaining_members)}), study.root
    )
    assert whatever_the_stack(remaining) == {
        name: values for name, values in expected.items() if ", seed 0:" not in name
    }
