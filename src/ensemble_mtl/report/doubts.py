"""Signs that the training was not over, in plain sentences that stand beside the verdict."""

from __future__ import annotations

from collections.abc import Sequence

from ensemble_mtl.analysis.summary import Convergence, Summary
from ensemble_mtl.analysis.summary_rows import TaskConvergence
from ensemble_mtl.report.table import fixed


def doubts(summary: Summary) -> list[str]:
    """One or two sentences for every sign in the summary; an empty list without signs."""
    return of_convergence(summary.convergence)


def of_convergence(signs: Convergence) -> list[str]:
    """One or two sentences for every one of the ``signs``; an empty list without signs."""
    return [*_no_better(signs.tasks), *_longer(signs.tasks), *_at_end(signs)]


def _no_better(tasks: Sequence[TaskConvergence]) -> list[str]:
    return [
        f"{row.no_better} of {row.members} members predict {row.task} no better than a constant does: "
        "comparisons of it say little."
        for row in tasks
        if row.no_better
    ]


def _longer(tasks: Sequence[TaskConvergence]) -> list[str]:
    falling = [(row.task, row.correlation) for row in tasks if row.correlation.verdict == "falling"]
    if not falling:
        return []
    shown = ", ".join(f"{task} {fixed(correlation.spearman or 0.0, 2)}" for task, correlation in falling)
    return [
        "Where early stopping let members train longer, their errors are smaller (Spearman's ρ of epochs and test "
        f"error within a subset: {shown}). So the errors tell of when training was stopped, too. A learning rate that "
        "falls (train.schedule: plateau) or more patience (train.early_stopping) would tell more."
    ]


def _at_end(signs: Convergence) -> list[str]:
    if not signs.best_at_end:
        return []
    start = f"{signs.best_at_end} of {signs.members} members had their lowest validation loss in the very last epoch"
    if signs.annealed:
        return [
            f"{start}, as is to be expected where the learning rate falls until then (train.schedule). Whether more "
            "epochs (train.epochs) would have made errors smaller, only a longer run can tell."
        ]
    return [f"{start}: with more of them (train.epochs) errors may be smaller, and compare otherwise."]
