"""Signs in the members' results that the training was not over when it ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ensemble_mtl.analysis import rank_correlation
from ensemble_mtl.analysis.groups import Groups, Pair, compared_error
from ensemble_mtl.analysis.multiple_tests import holm_corrected
from ensemble_mtl.analysis.rank_correlation import RankCorrelation
from ensemble_mtl.analysis.summary import Convergence
from ensemble_mtl.analysis.summary_rows import TaskConvergence
from ensemble_mtl.data.graph import FloatArray


def convergence_signs(
    groups: Groups, spreads: Mapping[tuple[str, int], float], fraction: float, *, annealed: bool = False
) -> Convergence:
    """Signs that longer or different training would change the errors.

    Args:
        groups: results by subset and fraction.
        spreads: (task, split) to the standard deviation of the test targets, in the task's unit. It is the RMSE of the
            best constant prediction, which is their mean.
        fraction: the training fraction whose members are examined.
        annealed: whether the learning rate fell until the last epoch; members are then expected to be best at the end.
    """
    by_subset = {subset: pairs for (subset, share), pairs in groups.items() if share == fraction}
    members = [pair for pairs in by_subset.values() for pair in pairs]
    at_end = sum(not result.stopped_early and result.best_epoch == result.epochs for _, result in members)
    learning = {
        task: [pairs for subset, pairs in by_subset.items() if task in subset]
        for task in dict.fromkeys(task for subset in by_subset for task in subset)
    }
    correlations = holm_corrected([_epochs_against_error(ensembles, task) for task, ensembles in learning.items()])
    tasks = [
        TaskConvergence(
            task=task,
            members=sum(map(len, ensembles)),
            no_better=sum(_is_no_better(pair, task, spreads) for pairs in ensembles for pair in pairs),
            correlation=correlation,
        )
        for (task, ensembles), correlation in zip(learning.items(), correlations, strict=True)
    ]
    return Convergence(members=len(members), annealed=annealed, best_at_end=at_end, tasks=tuple(tasks))


def _is_no_better(pair: Pair, task: str, spreads: Mapping[tuple[str, int], float]) -> bool:
    """Whether the member predicts the task no better than the best constant does; False if its split cannot be read."""
    member, result = pair
    spread = spreads.get((task, member.split))
    return bool(spread and result.metrics[task]["test"]["rmse"] >= spread)


def _epochs_against_error(ensembles: Sequence[list[Pair]], task: str) -> RankCorrelation:
    """The rank correlation of epochs trained and test error; the members of a subset are ranked among themselves."""
    points = [point for pairs in ensembles for point in _ranked(pairs, task)]
    return rank_correlation.spearman(*np.array(points, dtype=np.float64).reshape(-1, 2).T)


def _ranked(pairs: list[Pair], task: str) -> Iterator[tuple[float, float]]:
    """The ranks, scaled to 0 … 1, of epochs and of test error for each member of one subset that stopped early.

    Nothing is yielded where all of them trained for the same number of epochs.
    """
    stopped = [result for _, result in pairs if result.stopped_early]
    if len({result.epochs for result in stopped}) < 2:
        return
    errors = [compared_error(result, task) for result in stopped]
    columns: list[FloatArray] = [np.array([result.epochs for result in stopped], dtype=np.float64), np.array(errors)]
    yield from zip(*(rank_correlation.ranks(column) / (len(stopped) + 1) for column in columns), strict=True)
