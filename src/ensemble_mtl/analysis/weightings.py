"""What a weighting of the tasks does: every one against the first of the study, task by task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ensemble_mtl.analysis import statistics
from ensemble_mtl.analysis.aggregates import COMPARED, Pair, Row
from ensemble_mtl.study.plan import Member

_NOT_COMPARED = dict.fromkeys((
    "difference", "ci95", "percent", "percent_ci95", "p", "p_wilcoxon", "p_holm", "effect", "pairs", "units",
    "variance", "verdict",
))  # fmt: skip
"""In the rows of the first weighting."""


def rows(plan: Sequence[Member], found: Sequence[Pair], weightings: Sequence[str], overlap: float) -> list[Row]:
    """One row per (subset, fraction, task, weighting); none unless several weightings are compared.

    A row has the test error's ``mean``, ``std`` and ``members`` of ``planned``, the ``seconds_per_epoch`` of a member's
    training, ``relative_seconds`` to those of the first weighting, ``comparable`` if both were timed on one device in
    stacks of one size, and the comparison of :func:`statistics.compare`, matched by seed and split: the weighting minus
    the first. Holm's correction is over all of these rows.

    Args:
        plan: every member of the study.
        found: those with results.
        weightings: what they are called, in order.
        overlap: test over training graphs (see :func:`statistics.compare`).
    """
    if len(weightings) < 2:
        return []
    made: list[Row] = []
    comparisons: list[statistics.Comparison] = []
    groups = dict.fromkeys((member.subset, member.fraction) for member in plan if len(member.subset) > 1)
    for subset, fraction in groups:
        planned = [member for member in plan if (member.subset, member.fraction) == (subset, fraction)]
        own = [pair for pair in found if (pair[0].subset, pair[0].fraction) == (subset, fraction)]
        by_name = {name: [pair for pair in own if pair[0].weighting == name] for name in weightings}
        first = by_name[weightings[0]]
        for task in subset:
            for name, pairs in by_name.items():
                head: Row = {"subset": list(subset), "fraction": fraction, "task": task, "weighting": name}
                count = sum(member.weighting == name for member in planned)
                made.append(
                    {**head, "metric": COMPARED, **_errors(pairs, task), "planned": count, **_time(pairs, first)}
                )
                if name != weightings[0]:
                    errors = (_by_key(pairs, task), _by_key(first, task))
                    comparisons.append(statistics.compare(*errors, overlap / fraction))
    judged = iter(statistics.holm_corrected(comparisons))
    return [{**row, **(_NOT_COMPARED if row["weighting"] == weightings[0] else next(judged).to_json())} for row in made]


def _by_key(pairs: Sequence[Pair], task: str) -> dict[statistics.Key, float]:
    return {(member.seed, member.split): result.metrics[task]["test"][COMPARED] for member, result in pairs}


def _errors(pairs: Sequence[Pair], task: str) -> Row:
    spread = statistics.spread(list(_by_key(pairs, task).values()))
    return {"mean": spread.mean, "std": spread.std, "members": spread.members}


def _time(pairs: Sequence[Pair], first: Sequence[Pair]) -> dict[str, Any]:
    own, reference = _seconds_per_epoch(pairs), _seconds_per_epoch(first)
    timed = {result.timed_as for _, result in (*pairs, *first)}
    return {
        "seconds_per_epoch": own,
        "relative_seconds": own / reference if own is not None and reference else None,
        "comparable": len(timed) == 1,
    }


def _seconds_per_epoch(pairs: Sequence[Pair]) -> float | None:
    return statistics.spread([result.train_seconds / max(result.epochs, 1) for _, result in pairs]).mean
