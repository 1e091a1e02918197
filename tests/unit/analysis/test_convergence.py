"""Signs that training was not over, from results that are written down here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ensemble_mtl.analysis.convergence import convergence_signs
from ensemble_mtl.analysis.summary import Convergence
from ensemble_mtl.analysis.summary_rows import TaskConvergence
from ensemble_mtl.report.doubts import of_convergence

SPREADS = {("H", 0): 2.0, ("C", 0): 1.0}


def pair(epochs: int, errors: dict[str, float], *, stopped: bool = True, best: int | None = None) -> Any:
    """A member and its result; ``errors`` are in the task's unit, scaled ones a tenth of them."""
    metrics = {task: {"test": {"rmse": error, "rmse_scaled": 0.1 * error}} for task, error in errors.items()}
    best = epochs - 10 if best is None else best
    result = SimpleNamespace(epochs=epochs, best_epoch=best, stopped_early=stopped, metrics=metrics)
    return SimpleNamespace(split=0), result


def found(groups: dict[Any, Any]) -> Convergence:
    return convergence_signs(groups, SPREADS, 1.0)


def of_task(groups: dict[Any, Any], task: str) -> TaskConvergence:
    (row,) = [row for row in found(groups).tasks if row.task == task]
    return row


def ensemble(slope: float, level: float, epochs: range = range(20, 32)) -> list[Any]:
    """Twelve members whose error of H changes with the epochs; that of C does not."""
    noise = np.random.default_rng(1).normal(size=len(epochs))
    return [pair(e, {"H": level + slope * e, "C": 0.5 + 0.01 * n}) for e, n in zip(epochs, noise, strict=True)]


def test_longer_training_with_smaller_errors_is_told_for_its_task() -> None:
    groups = {(("H", "C"), 1.0): ensemble(-0.01, 1.0)}
    row = of_task(groups, "H").correlation
    assert (row.verdict, row.spearman, row.points) == ("falling", pytest.approx(-1.0), 12)
    assert of_task(groups, "C").correlation.verdict == "no evidence"
    (told,) = of_convergence(found(groups))
    assert "within a subset: H −1.00)" in told


def test_longer_training_with_larger_errors_is_no_doubt() -> None:
    groups = {(("H", "C"), 1.0): ensemble(+0.01, 1.0)}
    assert of_task(groups, "H").correlation.verdict == "rising"
    assert of_convergence(found(groups)) == []


def test_differences_between_subsets_do_not_count() -> None:
    """One subset trains longer and is better, within each there is nothing: that is what the study asks about."""
    together = [pair(int(e), {"H": 0.2 + 0.001 * n, "C": 0.5}) for e, n in normal(2) * [3, 1] + [60, 0]]
    alone = [pair(int(e), {"H": 0.9 + 0.001 * n}) for e, n in normal(3) * [3, 1] + [30, 0]]
    row = of_task({(("H", "C"), 1.0): together, (("H",), 1.0): alone}, "H").correlation
    assert (row.points, row.verdict) == (24, "no evidence")


def normal(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(12, 2))


def test_members_that_were_not_stopped_or_trained_alike_have_no_part() -> None:
    whole = [pair(50, {"H": 0.1 * k}, stopped=False) for k in range(12)]
    assert of_task({(("H",), 1.0): [*whole, *ensemble(-0.01, 1.0)]}, "H").correlation.points == 12
    assert of_task({(("H",), 1.0): [pair(30, {"H": 0.1 * k}) for k in range(12)]}, "H").correlation.points == 0


def test_members_no_better_than_a_constant_are_counted() -> None:
    groups = {(("H",), 1.0): [pair(30, {"H": error}) for error in (0.5, 1.9, 2.0, 2.5)]}
    assert of_task(groups, "H").no_better == 2
    (told,) = of_convergence(found(groups))
    assert told.startswith("2 of 4 members predict H no better than a constant does")
    assert convergence_signs(groups, {}, 1.0).tasks[0].no_better == 0  # nothing is known of the targets


def test_members_best_in_the_last_epoch_are_counted() -> None:
    ends = [pair(50, {"H": 0.1}, stopped=False, best=best) for best in (50, 50, 49)]
    stopped = pair(30, {"H": 0.1}, best=30)
    smaller = [pair(50, {"H": 0.1}, stopped=False, best=50)]
    groups = {(("H",), 1.0): [*ends, stopped], (("H",), 0.5): smaller}
    signs = found(groups)
    assert (signs.members, signs.best_at_end) == (4, 2)
    (told,) = of_convergence(signs)
    assert told.startswith("2 of 4 members had their lowest validation loss in the very last epoch: with more")
    (told,) = of_convergence(convergence_signs(groups, SPREADS, 1.0, annealed=True))
    assert told.startswith("2 of 4 members had their lowest validation loss in the very last epoch, as is to be")


def test_a_study_without_results_has_no_signs() -> None:
    signs = found({(("H", "C"), 1.0): []})
    assert signs.members == signs.best_at_end == 0
    assert of_convergence(signs) == []
