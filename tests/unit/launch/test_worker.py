"""Starting workers of the local launcher."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from ensemble_mtl.core.errors import EXIT_INCOMPLETE, TrainingError
from ensemble_mtl.launch.local import worker

Kill = Callable[[int], None]


@pytest.fixture
def kill_nursery(monkeypatch: pytest.MonkeyPatch) -> Kill:
    """Lets the process that workers are forked from die with the next requests, which it does not answer."""
    ask, left = forkserver.connect_to_new_process, [0]  # type: ignore[attr-defined]

    def ask_the_dying(fds: Any) -> Any:
        if not left[0]:
            return ask(fds)
        left[0] -= 1
        forkserver.ensure_running()
        pid = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        os.kill(pid, signal.SIGSTOP)
        try:
            return ask(fds)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def kill(times: int) -> None:
        left[0] = times

    monkeypatch.setattr(forkserver, "connect_to_new_process", ask_the_dying)
    monkeypatch.setattr(worker, "PAUSES", (0.0, 0.0))
    return kill


def test_nursery_that_dies_as_it_is_asked_is_replaced(kill_nursery: Kill, tmp_path: Path) -> None:
    kill_nursery(1)
    process, connection = worker.start(tmp_path, {})
    connection.close()
    process.join(300)
    assert process.exitcode == EXIT_INCOMPLETE  # as of a worker whose launcher is gone


def test_nursery_that_always_dies_is_told(kill_nursery: Kill, tmp_path: Path) -> None:
    kill_nursery(9)
    with pytest.raises(TrainingError, match="died 2 times; is memory short"):
        worker.start(tmp_path, {})
