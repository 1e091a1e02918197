"""Curves of a quantity against epoch: its mean and deviation over members, from the members' histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ensemble_mtl.analysis.statistics import sample_std
from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.study.histories import History


@dataclass(frozen=True)
class Curve:
    """One quantity against epoch.

    Attributes:
        epochs: ``[E]`` epochs at which every member has a value.
        mean: ``[E]`` mean over members.
        std: ``[E]`` sample standard deviation (ddof 1) over members; None for a single member.
        members: the number of members that recorded the quantity.
    """

    epochs: FloatArray
    mean: FloatArray
    std: FloatArray | None
    members: int

    def band(self) -> tuple[FloatArray, FloatArray] | None:
        """The edges ``[E]`` at mean ± one deviation; None without deviations.

        The lower edge is at least a fifth of the mean, since a logarithmic axis has no place for 0 and below.
        """
        if self.std is None:
            return None
        return np.maximum(self.mean - self.std, self.mean / 5), self.mean + self.std


def curve(histories: Sequence[History], key: str, task: str) -> Curve | None:
    """The curve of the quantity ``key`` of a task, over the members that recorded it.

    Members that stopped early keep their last value. Values at or below 0 are left out, since the axis is logarithmic.

    Returns:
        The curve, or None if no member recorded the quantity.
    """
    series = [by_epoch for history in histories if (by_epoch := _series(history, key, task))]
    if not series:
        return None
    epochs = sorted({epoch for by_epoch in series for epoch in by_epoch})
    table = np.array([_carried(by_epoch, epochs) for by_epoch in series])
    complete = np.isfinite(table).all(axis=0)  # epochs at which every member has a value
    values = table[:, complete]
    std = sample_std(values, axis=0) if len(values) > 1 else None
    return Curve(np.array(epochs, dtype=np.float64)[complete], values.mean(axis=0), std, len(values))


def _series(history: History, key: str, task: str) -> dict[int, float]:
    """The values of one member above 0, by epoch."""
    values = {line.epoch: line.by_task.get(key, {}).get(task) for line in history}
    return {epoch: float(value) for epoch, value in values.items() if value is not None and value > 0}


def _carried(series: dict[int, float], epochs: list[int]) -> list[float]:
    """A member's values at ``epochs``: where it has none, its last one before; NaN before its first."""
    last, values = float("nan"), []
    for epoch in epochs:
        last = series.get(epoch, last)
        values.append(last)
    return values
