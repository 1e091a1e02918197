"""The choice of a partition: the cheapest that is shown to be as good as the best, within the margin."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ensemble_mtl.analysis.verdict.best import Losses, against, compare_with_the_best
from ensemble_mtl.analysis.verdict.comparison import Setting
from ensemble_mtl.analysis.verdict.judgement import MIN_UNITS
from ensemble_mtl.analysis.verdict.pairs import Errors, Name, Scope, scope_of
from ensemble_mtl.analysis.verdict.partition import Partition, cells_of, complete_keys, losses_on_units, partitions
from ensemble_mtl.analysis.verdict.terms import Terms
from ensemble_mtl.study.plan import Subset

MAX_PARTITIONS = 5000
"""Eight tasks have 4140 partitions, nine have 21147; so many claims at once leave nothing to be shown anyway."""
LISTED = 5
"""Partitions that are listed beside those shown to be within the margin."""


@dataclass(frozen=True)
class Candidate:
    """A partition with its loss, the weighted mean over tasks of the log error in the block that holds the task.

    Attributes:
        blocks: subsets of tasks that are learned together.
        seconds: measured training time of a repeat of all blocks; None where a block was not measured.
        excess: loss above the lowest mean loss, in log units; that it is 0 does not make a partition the best.
        bound: the partition is at most so much worse than the best, in log units.
        may_be_best: whether no partition is shown to be better.
        within: whether it is shown to be within the margin of the best.
        versus_alone: difference of the loss to that of all tasks alone, and its interval; None without that partition.
    """

    blocks: Partition
    seconds: float | None
    excess: float
    bound: float
    may_be_best: bool
    within: bool
    versus_alone: tuple[float, float, float] | None

    @property
    def trunks(self) -> int:
        """Number of networks that are evaluated to have all tasks: the cost of inference."""
        return len(self.blocks)


@dataclass(frozen=True)
class Choice:
    """The choice among partitions.

    Attributes:
        candidates: those with results, by mean loss.
        recommended: the cheapest that is shown to be within the margin of the best; None where none is.
        cheapest_possible: where nothing is recommended, the cheapest of those that may be best.
        obstacle: why nothing can be recommended, in words; empty where the intervals decide.
        planned: partitions that the subsets of the plan form; where there are too many, the bound plus 1.
        units: independent units that have all cells.
        splits: splits of these units.
        scope: what the claims hold for; None without units.
        critical: one-sided critical value; None where nothing was compared.
        level: error rate of this look.
        margin: share of the best error by which a recommended partition may be worse.
        by_seconds: whether cost means measured training time; else it is the number of trunks.
    """

    candidates: tuple[Candidate, ...]
    recommended: Candidate | None
    cheapest_possible: Candidate | None
    obstacle: str
    planned: int
    units: int
    splits: int
    scope: Scope | None
    critical: float | None
    level: float
    margin: float
    by_seconds: bool

    def listed(self) -> tuple[Candidate, ...]:
        """Candidates within the margin, then the :data:`LISTED` lowest of the rest; there can be thousands."""
        rest = [candidate for candidate in self.candidates if not candidate.within]
        return (*(candidate for candidate in self.candidates if candidate.within), *rest[:LISTED])


def choose_partition(
    errors: Mapping[Name, Errors],
    tasks: Sequence[str],
    subsets: Collection[Subset],
    terms: Terms,
    setting: Setting | None = None,
    *,
    seconds: Mapping[Subset, float] | None = None,
    weights: Mapping[str, float] | None = None,
) -> Choice:
    """Recommend the cheapest partition that is shown to be within the margin of the best.

    Args:
        errors: of every cell (subset, task), by (split, seed).
        tasks: in the configuration's order.
        subsets: of the plan, single tasks included, whether or not they have results.
        terms: error rate, look and margin. The error rate is spent on partitions separately from the comparisons, so
            the number of comparisons plays no part.
        setting: circumstances; nothing is recommended before all planned members are done or given up.
        seconds: measured training time of a repeat of each subset.
        weights: of the tasks in the loss, in any unit; equal by default.
    """
    setting = setting or Setting()
    formed = list(itertools.islice(partitions(tasks, subsets), MAX_PARTITIONS + 1))
    candidates = [blocks for blocks in formed if all(errors.get(name) for name in cells_of([blocks]))]
    keys = complete_keys([errors[name] for name in cells_of(candidates)])
    losses = None
    if 1 < len(formed) <= MAX_PARTITIONS and candidates and keys:
        losses = losses_on_units(errors, candidates, _shares(tasks, weights or {}), setting.shared_initial_values)
    units = losses.units if losses else 0
    obstacle = _obstacle(len(formed), units, setting)
    estimates, critical = _estimates(losses, candidates, len(formed), terms, seconds or {})
    by_seconds = bool(estimates) and all(candidate.seconds is not None for candidate in estimates)
    proved = None if obstacle else _cheapest([entry for entry in estimates if entry.within], by_seconds)
    possible = (
        None if obstacle or proved else _cheapest([entry for entry in estimates if entry.may_be_best], by_seconds)
    )
    return Choice(
        candidates=estimates,
        recommended=proved,
        cheapest_possible=possible,
        obstacle=obstacle,
        planned=len(formed),
        units=units,
        splits=len({split for split, _ in keys}),
        scope=scope_of(keys, setting.shared_initial_values) if keys else None,
        critical=critical,
        level=terms.level,
        margin=terms.margin,
        by_seconds=by_seconds,
    )


def _shares(tasks: Sequence[str], weights: Mapping[str, float]) -> dict[str, float]:
    """Weights of the tasks with the sum 1; a task without one has the weight 1."""
    total = math.fsum(weights.get(task, 1.0) for task in tasks)
    return {task: weights.get(task, 1.0) / total for task in tasks}


def _obstacle(planned: int, units: int, setting: Setting) -> str:
    if planned > MAX_PARTITIONS:
        return (
            f"the subsets of the plan form more than {MAX_PARTITIONS:,} partitions, too many to compare; "
            "plan fewer subsets, for example single tasks, pairs and all tasks"
        )
    if planned < 2:
        return f"the subsets of the plan form {planned or 'no'} partition{'s' * (not planned)} of the tasks"
    if not setting.complete:
        return "interim: planned members are missing"
    return "" if units >= MIN_UNITS else f"{units} repeats have all members; a recommendation needs {MIN_UNITS}"


def _estimates(
    losses: Losses | None, candidates: Sequence[Partition], planned: int, terms: Terms, seconds: Mapping[Subset, float]
) -> tuple[tuple[Candidate, ...], float | None]:
    """Candidates by their loss, and the critical value; none without a variance."""
    if losses is None or losses.df < 1:
        return (), None
    compared = compare_with_the_best(losses, planned, terms.level, terms.margin)
    alone = next((place for place, blocks in enumerate(candidates) if max(map(len, blocks)) == 1), None)
    versus = None if alone is None else against(losses, alone, compared.critical)
    lowest = compared.mean.min()
    estimates = [
        Candidate(
            blocks=blocks,
            seconds=math.fsum(seconds[block] for block in blocks)
            if all(block in seconds for block in blocks)
            else None,
            excess=float(compared.mean[place] - lowest),
            bound=float(compared.bound[place]),
            may_be_best=bool(compared.may_be_best[place]),
            within=bool(compared.within[place]),
            versus_alone=None
            if versus is None
            else (float(versus[0][place]), float(versus[1][place]), float(versus[2][place])),
        )
        for place, blocks in enumerate(candidates)
    ]
    return tuple(sorted(estimates, key=lambda estimate: estimate.excess)), compared.critical


def _cheapest(candidates: Collection[Candidate], by_seconds: bool) -> Candidate | None:
    """By training time, else by trunks; equal ones by loss."""
    costs = (
        (lambda entry: (entry.seconds, entry.trunks, entry.excess))
        if by_seconds
        else (lambda entry: (entry.trunks, entry.excess))
    )
    return min(candidates, key=costs, default=None)
