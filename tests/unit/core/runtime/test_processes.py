"""Process numbers, and what they can and cannot tell."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from ensemble_mtl.core.runtime import processes


def test_a_process_number_alone_is_not_a_process() -> None:
    assert processes.process_started(os.getpid()) is not None
    child = subprocess.Popen(["sleep", "60"])
    assert processes.process_started(child.pid) is not None
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert processes.process_started(child.pid) is None  # ended, though nobody has waited for it
    child.wait()
    assert processes.process_started(child.pid) is None


def test_a_process_that_one_may_not_see_counts_as_living(monkeypatch: pytest.MonkeyPatch) -> None:
    def hidden(pid: int) -> tuple[str, str]:
        raise FileNotFoundError(pid)  # as with hidepid=2

    def not_permitted(pid: int, number: int) -> None:
        raise PermissionError(pid)

    monkeypatch.setattr(processes, "_stat", hidden)
    monkeypatch.setattr(os, "kill", not_permitted)
    assert not processes.is_dead(1, "1")
    monkeypatch.undo()
    assert processes.is_dead(2**22 + 1, "1")
    assert processes.is_dead(os.getpid(), "1")  # the number was used again
    assert not processes.is_dead(os.getpid(), str(processes.process_started(os.getpid())))


def test_the_end_of_a_process_is_waited_for_so_long_and_no_longer() -> None:
    child = subprocess.Popen(["sleep", "60"])
    begun = processes.process_started(child.pid)
    before = time.monotonic()
    processes.wait_for_end({child.pid: begun}, 0.2)
    assert time.monotonic() - before >= 0.2  # it lives
    processes.wait_for_end({child.pid: None, os.getpid(): "another"}, 3600)  # neither is there
    child.kill()
    processes.wait_for_end({child.pid: begun}, 3600)
    assert processes.process_started(child.pid) is None  # though nobody has waited for it
    child.wait()
