"""The members' results, grouped by subset and fraction as in the rows of the summary, and their test errors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ensemble_mtl.analysis.comparison import Key
from ensemble_mtl.analysis.summary_rows import COMPARED
from ensemble_mtl.study.plan import Member, Subset
from ensemble_mtl.study.results import MemberResult

Pair = tuple[Member, MemberResult]
Groups = dict[tuple[Subset, float], list[Pair]]
"""(subset, fraction) to its members with a result."""


def grouped(plan: Sequence[Member], pairs: Iterable[Pair]) -> Groups:
    """The results by (subset, fraction), in the order of the plan; a group without results is an empty list."""
    groups: Groups = {(member.subset, member.fraction): [] for member in plan}
    for member, result in pairs:
        groups[member.subset, member.fraction].append((member, result))
    return groups


def compared_error(result: MemberResult, task: str) -> float:
    """The member's test error in the metric :data:`COMPARED`, in the units that values are scaled to."""
    return result.metrics[task]["test"][COMPARED]


def errors_by_key(pairs: Iterable[Pair], task: str) -> dict[Key, float]:
    """(seed, split) of each member to its :func:`compared_error`."""
    return {(member.seed, member.split): compared_error(result, task) for member, result in pairs}
