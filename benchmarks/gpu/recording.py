"""Recordings of training steps, observed: how many are made, what they take, and the recorded step to time it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import Tensor

from ensemble_mtl.core.runtime.devices import finish
from ensemble_mtl.train import recorded


@dataclass
class Recordings:
    """What was recorded while :func:`observed`.

    Attributes:
        seconds: of each recording; one is made in each epoch.
        refused: why a step could not be recorded.
        asked: whether any step was to be recorded; steps of graphs of different sizes are not.
        replay: does the last recorded step again, if it was to be kept.
    """

    seconds: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    asked: bool = False
    replay: recorded.Replay | None = None


@contextmanager
def observed(*, record: bool = True, keep: bool = False) -> Iterator[Recordings]:
    """Observe the recordings of whatever is trained inside.

    Args:
        record: whether steps are recorded; else they are done one operation at a time, as on a GPU without recordings.
        keep: whether the last recording stays, with its memory, when its epoch is over.
    """
    original = recorded.cuda_graph
    observation = Recordings()

    def observing(step: recorded.Step, graphs: Tensor) -> recorded.Replay | None:
        observation.asked, observation.replay = True, None
        if not record:
            return None
        finish(graphs.device)
        started = time.perf_counter()
        replay = original(step, graphs)
        finish(graphs.device)
        if replay is not None:
            observation.seconds.append(time.perf_counter() - started)
        observation.replay = replay if keep else None
        return replay

    recorded.cuda_graph = observing
    recorded._REFUSED.clear()  # a refusal of another case says nothing of this one
    try:
        yield observation
    finally:
        recorded.cuda_graph = original
        observation.refused = list(recorded._REFUSED)
