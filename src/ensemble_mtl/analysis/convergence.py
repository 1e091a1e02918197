"""Was the training over when it ended? What the members' results say against it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ensemble_mtl.analysis import rank_correlation
from ensemble_mtl.analysis.aggregates import COMPARED, Groups, Pair
from ensemble_mtl.data.graph import FloatArray

Row = dict[str, Any]


def signs(groups: Groups, spreads: Mapping[tuple[str, int], float], fraction: float, *, annealed: bool = False) -> Row:
    """Signs that more training, or another, would change the errors.

    Args:
        groups: results by subset and fraction.
        spreads: (task, split) to the standard deviation of the test targets about their own mean, in the task's unit:
            what the best constant has for an RMSE.
        fraction: the training fraction that is looked at.
        annealed: whether the learning rate fell to its least with the last epoch, where members are then expected to
            be best.

    Returns:
        ``members``; ``annealed``; ``best_at_end``, how many of them had the lowest validation loss in the last of all
        their epochs, without being stopped; and ``tasks``, one row per task: its ``members``, how many of them are
        ``no_better`` than that constant, and the rank correlation of epochs and error among the members that early
        stopping ended, ranked within their subset, Holm-corrected over the tasks. ``falling`` means that longer
        training is better.
    """
    here = {subset: pairs for (subset, share), pairs in groups.items() if share == fraction}
    members = [pair for pairs in here.values() for pair in pairs]
    at_end = sum(not result.stopped_early and result.best_epoch == result.epochs for _, result in members)
    rows, correlations = [], []
    for task in dict.fromkeys(task for subset in here for task in subset):
        learning = [pairs for subset, pairs in here.items() if task in subset]
        known = [
            (pair, spread) for pairs in learning for pair in pairs if (spread := spreads.get((task, pair[0].split)))
        ]
        no_better = sum(result.metrics[task]["test"]["rmse"] >= spread for (_, result), spread in known)
        rows.append({"task": task, "members": sum(map(len, learning)), "no_better": no_better})
        ranked = [part for pairs in learning for part in _ranked(pairs, task)]
        correlations.append(rank_correlation.spearman(*np.array(ranked, dtype=np.float64).reshape(-1, 2).T))
    judged = rank_correlation.holm_corrected(correlations)
    tasks = [{**row, **one.to_json()} for row, one in zip(rows, judged, strict=True)]
    return {"members": len(members), "annealed": annealed, "best_at_end": at_end, "tasks": tasks}


def _ranked(pairs: list[Pair], task: str) -> Iterator[tuple[float, float]]:
    """Ranks in 0 to 1 of epochs and of test error among the members of one subset; none if all trained alike."""
    stopped = [result for _, result in pairs if result.stopped_early]
    if len({result.epochs for result in stopped}) < 2:
        return
    errors = [result.metrics[task]["test"][COMPARED] for result in stopped]
    columns: list[FloatArray] = [np.array([result.epochs for result in stopped], dtype=np.float64), np.array(errors)]
    yield from zip(*(rank_correlation.ranks(column) / (len(stopped) + 1) for column in columns), strict=True)
