"""Shared by all tests; its presence puts this folder on the import path (``helpers``)."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from helpers import system
from hypothesis import settings

from ensemble_mtl.core.runtime.this_process import prepare_process

# Tests compute as every worker does.
prepare_process()

# No test may fail because a machine is busy.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: what it needs is to be installed there."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Say at the very end what was skipped, and how to have it run."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2] for report in skipped if isinstance(report.longrepr, tuple)]
    if lines := system.summary(reasons):
        terminalreporter.section("not tested on this machine")
        for line in lines:
            terminalreporter.write_line(line)
