"""What a launcher makes of signals that ask it to stop."""

from __future__ import annotations

import pytest

from ensemble_mtl.launch import stopping
from ensemble_mtl.launch.base import AGAIN_SECONDS
from ensemble_mtl.launch.stopping import StopRequests


def test_first_request_checkpoints_and_a_later_one_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now)
    requests = StopRequests()
    assert not requests.any
    assert requests.add() == "checkpoint"
    assert requests.any
    now += AGAIN_SECONDS / 2
    assert requests.add() is None  # passed on by the scheduler and by a script
    now += AGAIN_SECONDS
    assert requests.add() == "kill"
