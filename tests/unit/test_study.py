"""States of members are what their files say."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from ensemble_mtl import config_file
from ensemble_mtl.errors import StudyError
from ensemble_mtl.heartbeat import SILENCE_SECONDS, Heartbeat, only_one, process_started, read
from ensemble_mtl.member_files import add_metrics, begin, record_failure
from ensemble_mtl.study import Study, counts

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
    with Heartbeat([study.heartbeat(running)]):
        states = [study.state(member) for member in (done, failed, running, missing)]
    assert states == ["done", "failed", "running", "missing"]
    assert study.state(running) == "missing"
    assert counts(study.states()) == {"done": 1, "running": 0, "failed": 1, "missing": 82, "total": 84}


def test_a_failure_counts_its_attempts(study: Study) -> None:
    member = study.members()[0]
    begin(study, member, 0)
    record_failure(study, member, "once")
    begin(study, member, 3)
    assert not study.failure(member).exists()
    record_failure(study, member, "twice")
    assert json.loads(study.failure(member).read_text())["attempts"] == 2


def test_a_dropped_member_gets_no_more_heartbeats(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ensemble_mtl.heartbeat.HEARTBEAT_SECONDS", 0.02)
    first, second = study.members()[:2]
    with Heartbeat([study.heartbeat(first), study.heartbeat(second)]) as heartbeat:
        heartbeat.drop(study.heartbeat(first))
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
    assert read(beat(path))
    assert not read(beat(path, time=time.time() - SILENCE_SECONDS - 1))
    assert not read(beat(path, started="1"))  # the number was used again
    assert not read(beat(path, pid=2**22 + 1))  # above the largest process number
    assert read(beat(path, host="elsewhere", pid=2**22 + 1))
    path.write_text('{"pid": 1')
    assert not read(path)


def test_metrics_after_the_checkpoint_are_cut(study: Study) -> None:
    member = study.members()[0]
    study.folder(member).mkdir(parents=True)
    for epoch in range(1, 5):
        add_metrics(study, member, {"epoch": epoch})
    with open(study.metrics(member), "a") as file:
        file.write('{"epoch": 5, "lo')  # killed while writing
    begin(study, member, 3)
    lines = [json.loads(line)["epoch"] for line in study.metrics(member).read_text().splitlines()]
    assert lines == [1, 2, 3]


def test_only_one_process_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "launcher.json"
    with only_one(path, "running this study"):
        holder = json.loads(path.read_text())
        with pytest.raises(StudyError, match=f"process {os.getpid()} .* is running this study already"):  # noqa: SIM117
            with only_one(path, "running this study"):
                pass
    assert holder["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_dead_holder_is_succeeded(tmp_path: Path) -> None:
    path = beat(tmp_path / "launcher.json", pid=2**22 + 1)
    with only_one(path, "running this study"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []
