"""States of members are what their files say."""

import json
from pathlib import Path

import pytest

from ensemble_mtl.config import file as config_file
from ensemble_mtl.study.claims import claim
from ensemble_mtl.study.directory import Study, counts
from ensemble_mtl.study.member_files import add_metrics, begin_attempt, last_metrics, log, record_failure

CONFIG = Path(__file__).parents[3] / "configs/quickstart.yaml"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.at(config_file.load(CONFIG), CONFIG, tmp_path / "study")


def test_the_study_directory_is_beside_the_configuration_unless_said() -> None:
    assert Study.at(config_file.load(CONFIG), CONFIG, None).root == CONFIG.parent / "studies" / "quickstart"


def test_states_follow_the_files(study: Study) -> None:
    done, failed, running, missing = study.plan()[:4]
    study.folder(done).mkdir(parents=True)
    study.result(done).write_text("{}")
    record_failure(study, failed, "no")
    running_claim = claim(study.claim_file(running))
    assert running_claim is not None
    states = [study.state(member) for member in (done, failed, running, missing)]
    running_claim.release()
    assert states == ["done", "failed", "running", "missing"]
    assert study.state(running) == "missing"
    assert counts(study.states()) == {"done": 1, "running": 0, "failed": 1, "missing": 82, "total": 84}


def test_a_failure_counts_its_attempts(study: Study) -> None:
    member = study.plan()[0]
    begin_attempt(study, member, 0, 2)
    record_failure(study, member, "once")
    begin_attempt(study, member, 3, 2)
    assert not study.failure(member).exists()
    record_failure(study, member, "twice")
    assert json.loads(study.failure(member).read_text())["attempts"] == 2


def test_no_text_in_the_log_is_an_attempt(study: Study) -> None:
    member = study.plan()[0]
    begin_attempt(study, member, 0, 2)
    log(study, member, "failed: it was started at epoch 3 in a stack of 2, and ended")
    record_failure(study, member, "it was started at epoch 3 in a stack of 2, and ended")
    assert json.loads(study.failure(member).read_text())["attempts"] == 1


def test_unfinished_members_are_those_without_a_result(study: Study) -> None:
    first, second, third = study.plan()[:3]
    study.folder(second).mkdir(parents=True)
    study.result(second).write_text("{}")
    assert [study.is_done(member) for member in (first, second, third)] == [False, True, False]
    assert study.unfinished([third, second, first]) == [third, first]


def test_metrics_after_the_checkpoint_are_cut(study: Study) -> None:
    member = study.plan()[0]
    study.folder(member).mkdir(parents=True)
    for epoch in range(1, 5):
        add_metrics(study, member, {"epoch": epoch})
    with open(study.metrics(member), "a") as file:
        file.write('{"epoch": 5, "lo')  # killed while writing
    begin_attempt(study, member, 3, 2)
    lines = [json.loads(line)["epoch"] for line in study.metrics(member).read_text().splitlines()]
    assert lines == [1, 2, 3]


def test_the_last_whole_line_of_metrics(study: Study) -> None:
    member = study.plan()[0]
    study.folder(member).mkdir(parents=True)
    assert last_metrics(study, member) is None
    for epoch in range(1, 2000):  # more than is read
        add_metrics(study, member, {"epoch": epoch})
    with open(study.metrics(member), "a") as file:
        file.write('{"epoch": 2000, "lo')  # being written
    assert last_metrics(study, member) == {"epoch": 1999}
