"""What a machine lacks is told with the line that installs it."""

from __future__ import annotations

import pytest
from helpers import system


def test_packages_are_those_that_ci_installs() -> None:
    assert system.packages()["sbatch"] == "slurm-client"
    assert {"shellcheck", "ip", "chromium", *system.SLURM} <= system.packages().keys()


def test_the_summary_counts_and_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "lacking", lambda programs: ["sbatch", "ip"])
    assert system.summary(["Skipped: not installed: ip", "Skipped: not installed: ip", "Skipped: needs root"]) == [
        "2 tests were skipped: not installed: ip",
        "1 test was skipped: needs root",
        "Install what is missing:  apt-get install iproute2 slurm-client",
    ]


def test_nothing_is_said_where_nothing_was_skipped() -> None:
    assert system.summary([]) == []


def test_a_missing_program_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pytest.skip.Exception, match="not installed: no-such-program"):
        system.skip_without("sh", "no-such-program")
    assert system.needs("sh").args == (False,)
