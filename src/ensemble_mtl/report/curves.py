"""From the members' histories to curves: mean and deviation over members, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ensemble_mtl.data.graph import FloatArray
from ensemble_mtl.report.inputs import History


@dataclass(frozen=True)
class Curve:
    """One quantity against epoch.

    Attributes:
        epochs: ``[E]`` epochs at which every member has a value.
        mean: ``[E]`` mean over members.
        std: ``[E]`` sample standard deviation (ddof 1) over members; None for a single member.
        members: how many members recorded the quantity.
    """

    epochs: FloatArray
    mean: FloatArray
    std: FloatArray | None
    members: int

    def band(self) -> tuple[FloatArray, FloatArray] | None:
        """Edges ± one deviation for a log axis, which has no place for a lower edge at 0 or below: at least mean/5."""
        if self.std is None:
            return None
        return np.maximum(self.mean - self.std, self.mean / 5), self.mean + self.std


def curve(histories: Sequence[History], key: str, task: str) -> Curve | None:
    """The entry ``key`` of the task, over the members that recorded it; None if none did.

    Members that stopped early keep their last value. Values that are not above 0 are left
    out, since curves stand on log axes.
    """
    series = [found for history in histories if (found := _series(history, key, task))]
    if not series:
        return None
    epochs = sorted({epoch for one in series for epoch in one})
    values = np.array([_carried(one, epochs) for one in series])
    whole = np.isfinite(values).all(axis=0)
    values = values[:, whole]
    std = values.std(axis=0, ddof=1) if len(values) > 1 else None
    return Curve(np.array(epochs, dtype=np.float64)[whole], values.mean(axis=0), std, len(values))


def _series(history: History, key: str, task: str) -> dict[int, float]:
    values = {int(row["epoch"]): (row.get(key) or {}).get(task) for row in history}
    return {epoch: float(value) for epoch, value in values.items() if value is not None and value > 0}


def _carried(series: dict[int, float], epochs: list[int]) -> list[float]:
    """Values at ``epochs``; after the member's last epoch, its last value."""
    last, values = float("nan"), []
    for epoch in epochs:
        last = series.get(epoch, last)
        values.append(last)
    return values
