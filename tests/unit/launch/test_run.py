"""What a run refuses before it does anything; whole runs are in tests/integration/test_python_api.py."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.studies import write

from ensemble_mtl.core.errors import ConfigError, EnsembleMTLError, StudyError
from ensemble_mtl.launch.base import DEADLINE
from ensemble_mtl.launch.run import RunOutcome, run
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.load import load_study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_study(write(tmp_path))


def test_every_outcome_has_the_exit_code_of_the_command_line() -> None:
    assert {str(outcome): outcome.exit_code for outcome in RunOutcome} == {
        "complete": 0, "members failed": 1, "incomplete": 3, "stopped": 99, "served": 0,
    }  # fmt: skip


def test_a_launcher_that_does_not_exist_is_refused(study: Study) -> None:
    with pytest.raises(ConfigError, match=r"launcher: .*locl.*did you mean 'local'"):
        run(study, launcher="locl")
    assert not study.root.exists()


def test_a_member_of_another_study_is_refused(study: Study) -> None:
    stranger = replace(study.plan()[0], id="0123456789")
    with pytest.raises(StudyError, match="member 0123456789 is not in the plan of tiny"):
        run(study, members=[stranger])
    assert not study.root.exists()


def test_a_deadline_that_is_no_time_is_refused(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DEADLINE, "noon")
    with pytest.raises(ConfigError, match="got 'noon', expected a Unix time"):
        run(study)
    assert not study.root.exists()


def test_another_thread_than_the_main_one_is_refused(study: Study) -> None:
    errors: list[str] = []

    def attempt() -> None:
        try:
            run(study)
        except EnsembleMTLError as error:
            errors.append(str(error))

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert errors == ["a run was started in a thread, expected the main one, since only that may handle signals"]
    assert not study.root.exists()
