"""States of members are what their files say."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from ensemble_mtl import config_file
from ensemble_mtl.member_files import Heartbeat, add_metrics, cut_metrics, record_failure
from ensemble_mtl.study import SILENCE_SECONDS, Study, counts, is_alive, process_started

CONFIG = Path(__file__).parents[2] / "configs/quickstart.yaml"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.at(config_file.load(CONFIG), CONFIG, tmp_path / "study")


def test_the_study_directory_is_beside_the_configuration_unless_said() -> None:
    assert Study.at(config_file.load(CONFIG), CONFIG, None).root == CONFIG.parent / "studies" / "quickstart"


def test_states_follow_the_files(study: Study) -> None:
    done, failed, running, missing = study.members()[:4]
    study.folder(done).mkdir(parents=True)
    study.result(done).write_text("{}")
    record_failure(study, failed, "no")
    with Heartbeat(study, [running]):
        states = [study.state(member) for member in (done, failed, running, missing)]
    assert states == ["done", "failed", "running", "missing"]
    assert study.state(running) == "missing"
    assert counts(study.states()) == {"done": 1, "running": 0, "failed": 1, "missing": 82, "total": 84}


def test_a_failure_counts_its_attempts(study: Study) -> None:
    member = study.members()[0]
    record_failure(study, member, "once")
    record_failure(study, member, "twice")
    assert json.loads(study.failure(member).read_text())["attempts"] == 2


def test_a_dropped_member_gets_no_more_heartbeats(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble_mtl.member_files.HEARTBEAT_SECONDS", 0.02)
    first, second = study.members()[:2]
    with Heartbeat(study, [first, second]) as heartbeat:
        heartbeat.drop(first)
        study.heartbeat(second).unlink()
        deadline = time.monotonic() + 10
        while not study.heartbeat(second).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert study.heartbeat(second).exists()
        assert not study.heartbeat(first).exists()


def beat(path: Path, **changes: object) -> Path:
    pid = os.getpid()
    started = process_started(pid)
    told = {"pid": pid, "started": started, "host": socket.gethostname(), "time": time.time(), **changes}
    path.write_text(json.dumps(told))
    return path


def test_silence_a_dead_process_and_garbage_are_not_alive(tmp_path: Path) -> None:
    path = tmp_path / "running.json"
    assert is_alive(beat(path))
    assert not is_alive(beat(path, time=time.time() - SILENCE_SECONDS - 1))
    assert not is_alive(beat(path, started="1"))  # the number was used again
    assert not is_alive(beat(path, pid=2**22 + 1))  # above the largest process number
    assert is_alive(beat(path, host="elsewhere", pid=2**22 + 1))
    path.write_text('{"pid": 1')
    assert not is_alive(path)


def test_metrics_after_the_checkpoint_are_cut(study: Study) -> None:
    member = study.members()[0]
    study.folder(member).mkdir(parents=True)
    for epoch in range(1, 5):
        add_metrics(study, member, {"epoch": epoch})
    with open(study.metrics(member), "a") as file:
        file.write('{"epoch": 5, "lo')  # killed while writing
    cut_metrics(study, member, 3)
    lines = [json.loads(line)["epoch"] for line in study.metrics(member).read_text().splitlines()]
    assert lines == [1, 2, 3]
