"""What the signals mean that ask a launcher to stop: the first to checkpoint everything, another one to kill."""

from __future__ import annotations

import time
from typing import Literal

from ensemble_mtl.launch.base import AGAIN_SECONDS

Stop = Literal["checkpoint", "kill"]


class StopRequests:
    """Counts the requests to stop.

    Attributes:
        any: whether there was one.
    """

    def __init__(self) -> None:
        self.any = False
        self._last = 0.0

    def add(self) -> Stop | None:
        """What a signal that has just come asks for; None if it belongs to the one before."""
        repeated = self.any
        if repeated and time.monotonic() - self._last < AGAIN_SECONDS:
            return None
        self.any, self._last = True, time.monotonic()
        return "kill" if repeated else "checkpoint"
