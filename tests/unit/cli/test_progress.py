"""What is shown of a run where there is no terminal."""

from __future__ import annotations

import pytest

from ensemble_mtl.cli.progress import run_progress


def test_a_run_shows_what_is_read_and_then_how_far_training_is(capsys: pytest.CaptureFixture[str]) -> None:
    with run_progress(epochs=4) as observe:
        observe({"event": "reading", "done": 1, "total": 2})
        observe({"event": "reading", "done": 2, "total": 2})
        observe({"event": "prepared"})
        shown = capsys.readouterr().err.splitlines()
        assert shown[-1] == "reading data: 100 %"
        observe({"event": "training", "members": 5, "done": 2})
        observe({"event": "epoch", "members": ["a", "b"], "epoch": 1})
        observe({"event": "done", "member": "a"})
        observe({"event": "failed", "member": "b", "error": "no"})
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith("training: 3/5 members done, 0 running, 1 failed, about ")
    )


def test_a_run_without_raw_files_to_read_shows_nothing_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    with run_progress(epochs=4) as observe:
        observe({"event": "prepared"})
    assert capsys.readouterr().err == ""
