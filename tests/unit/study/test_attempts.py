"""Events of attempts outlive a process that is killed while it writes one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ensemble_mtl.config import file as config_file
from ensemble_mtl.study.attempts import AttemptEvent, Phase, add_event, read_events
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member

CONFIG = Path(__file__).parents[3] / "configs/quickstart.yaml"
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
TRYING, TRAINING = AttemptEvent(Phase.TRYING, 0, 12, NOON), AttemptEvent(Phase.TRAINING, 0, 6, NOON)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.at(config_file.load(CONFIG), CONFIG, tmp_path / "study")


@pytest.fixture
def member(study: Study) -> Member:
    return study.plan()[0]


def test_what_is_added_is_read(study: Study, member: Member) -> None:
    assert read_events(study, member) == []
    events = [AttemptEvent(phase, 3, 2, NOON) for phase in Phase] + [AttemptEvent(Phase.FAILED, time=NOON)]
    for event in events:
        add_event(study, member, event)
    assert read_events(study, member) == events


def test_a_line_that_a_killed_process_was_writing_is_left_out_and_costs_no_other(study: Study, member: Member) -> None:
    add_event(study, member, TRYING)
    whole = TRAINING.to_line().encode()
    for length in range(1, len(whole)):
        path = study.attempts(member)
        path.write_bytes(TRYING.to_line().encode() + b"\n" + whole[:length])
        assert read_events(study, member) == [TRYING]
        add_event(study, member, TRAINING)
        assert read_events(study, member) == [TRYING, TRAINING]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "null",
        "[1]",
        '{"phase": "training"}',
        TRAINING.to_line().replace("training", "dancing"),
        TRAINING.to_line().replace("6", '"6"', 1),
        TRAINING.to_line().replace('"epoch": 0', '"epoch": true'),
        TRAINING.to_line().replace("2026", "soon"),
    ],
)
def test_what_is_no_event_is_left_out(study: Study, member: Member, line: str) -> None:
    add_event(study, member, TRYING)
    with open(study.attempts(member), "a") as file:
        file.write(f"{line}\n{TRAINING.to_line()}\n")
    assert read_events(study, member) == [TRYING, TRAINING]
