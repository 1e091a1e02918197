"""What a member recorded epoch by epoch in its ``metrics.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ensemble_mtl.core.errors import IncompleteStudyError
from ensemble_mtl.study.directory import Study
from ensemble_mtl.study.plan import Member


@dataclass(frozen=True)
class EpochMetrics:
    """One epoch of a member.

    Attributes:
        epoch: its number, from 1.
        by_task: a quantity, such as ``val_rmse_scaled``, to its value for each task; None where it was not finite.
    """

    epoch: int
    by_task: Mapping[str, Mapping[str, float | None]]


History = Sequence[EpochMetrics]
"""A member's epochs in rising order, each once."""


@dataclass(frozen=True)
class TrainingHistory:
    """How the errors of one member went during its training, as arrays over its E epochs.

    Attributes:
        epochs: ``[E]`` numbers of the epochs, from 1, rising.
        by_task: a quantity, such as ``val_rmse_scaled``, to a task's name, to its ``[E]`` values. Errors are in units
            of the normalized target; NaN stands where a value was not finite.
    """

    epochs: NDArray[np.int64]
    by_task: Mapping[str, Mapping[str, NDArray[np.float64]]]


def history(study: Study, member: Member) -> TrainingHistory:
    """Return the errors of one member epoch by epoch, also while it is still in training.

    Args:
        study: the study.
        member: one of its members.

    Raises:
        IncompleteStudyError: the member has trained no epoch yet, or its ``metrics.jsonl`` cannot be read.
    """
    path = study.metrics(member)
    lines = read(path)
    if not lines:
        raise IncompleteStudyError(f"{path}: expected a line for each epoch, and found none; run the study first")
    names = {(quantity, task): None for line in lines for quantity, tasks in line.by_task.items() for task in tasks}
    by_task: dict[str, dict[str, NDArray[np.float64]]] = {}
    for quantity, task in names:
        values = [line.by_task.get(quantity, {}).get(task) for line in lines]
        by_task.setdefault(quantity, {})[task] = np.array(values, dtype=np.float64)  # None becomes NaN
    return TrainingHistory(np.array([line.epoch for line in lines], dtype=np.int64), by_task)


def read(path: Path) -> History:
    """Return the history in the file ``path``; empty if it cannot be read."""
    try:
        lines = [_parsed(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()
    # a resumed member may have written an epoch twice; the later line counts
    return [line for _, line in sorted({line.epoch: line for line in lines}.items())]


def _parsed(line: str) -> EpochMetrics:
    content = json.loads(line)
    return EpochMetrics(
        int(content["epoch"]), {key: value for key, value in content.items() if isinstance(value, dict)}
    )
