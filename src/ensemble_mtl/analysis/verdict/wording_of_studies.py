"""The choice of a partition, and the relation of mismatch and gain, as sentences of plain text."""

from __future__ import annotations

from ensemble_mtl.analysis.verdict.choice import Candidate, Choice
from ensemble_mtl.analysis.verdict.mismatch import Relation
from ensemble_mtl.analysis.verdict.phrases import change, counted, share, size
from ensemble_mtl.study.plan import label

SINGLE_STUDY_POWER = {4: 0.08, 5: 0.26, 6: 0.45, 7: 0.57, 8: 0.78}
"""Chance that a single study of so many tasks shows a true rank correlation of .5 (simulated; docs/benchmarks)."""
STUDIES_NEEDED = {3: 27, 4: 8, 5: 4, 6: 3, 7: 2}
"""Studies of so many tasks that show a true rank correlation of .5 with a chance of 80 %."""
TASKS_NEEDED = 8
"""Tasks of a single study that does."""


def choice_sentence(choice: Choice) -> str:
    """Which partition to take, with the bound of its loss; or why that is not decided."""
    if choice.obstacle:
        return f"no partition is recommended: {choice.obstacle}"
    where = {"this split": " on this split", "these splits": f" on these {choice.splits} splits"}.get(
        choice.scope or "", ""
    )
    margin = share(choice.margin)
    if choice.recommended is not None:
        name = partition_label(choice.recommended)
        return f"cheapest within {margin} % of the best{where}: {name} ({_numbers(choice.recommended)})"
    possible = choice.cheapest_possible
    number = sum(candidate.may_be_best for candidate in choice.candidates)
    text = (
        f"not decided{where}: {counted(number, 'partition')} may be best, none is shown to be within {margin} % of it"
    )
    return text if possible is None else f"{text}; cheapest of them: {partition_label(possible)} ({_numbers(possible)})"


def partition_label(candidate: Candidate) -> str:
    """``H|CM``: the blocks of a partition."""
    return "|".join(label(block) for block in candidate.blocks)


def versus_alone(candidate: Candidate) -> str | None:
    """``better than all alone by 6 % [−10, −2]`` where the interval shows a difference, else None."""
    if candidate.versus_alone is None:
        return None
    mean, low, high = candidate.versus_alone
    if low <= 0 <= high:
        return None
    return f"{'better' if high < 0 else 'worse'} than all alone: error {change(mean, (low, high))}"


def relation_sentence(relation: Relation) -> str:
    """Whether mismatch and the error of learning together are related, and what such a study can show."""
    if not relation.studies:
        return "no study with three tasks whose pairs are all trained: no relation can be shown"
    single = len(relation.studies) == 1
    tasks = relation.tasks[0]
    if relation.answer == "cannot be shown":
        smallest = f"no relation can be shown (smallest p {relation.smallest_p:.2g})"
        return f"{_pairs(relation)}: {smallest}.{_rho(relation)}{_advice(relation)}"
    numbers = f"{_rho(relation).strip().rstrip('.')}, p = {relation.p:.2g}, {_pairs(relation)}"
    if relation.answer == "not shown":
        power = SINGLE_STUDY_POWER.get(tasks) if single else None
        chance = "" if power is None else f"; a true correlation of .5 would be shown with {share(power)} %"
        return f"no relation of mismatch and gain is shown ({numbers}){chance}"
    direction = "larger" if relation.answer == "rising" else "smaller"
    return f"the larger the mismatch, the {direction} the error of learning two tasks together ({numbers})"


def _numbers(candidate: Candidate) -> str:
    seconds = "" if candidate.seconds is None else f", {candidate.seconds:,.0f} s of training per repeat"
    return f"at most +{size(candidate.bound)} % worse than the best; {counted(candidate.trunks, 'trunk')}{seconds}"


def _pairs(relation: Relation) -> str:
    if len(relation.studies) == 1:
        tasks = relation.tasks[0]
        return f"{tasks} tasks give {tasks * (tasks - 1) // 2} pairs"
    pairs = sum(tasks * (tasks - 1) // 2 for tasks in relation.tasks)
    return f"{len(relation.studies)} studies give {pairs} pairs"


def _rho(relation: Relation) -> str:
    if relation.measure is None:
        return ""
    return f" rho = {relation.pooled[relation.measure]:+.2f} for {relation.measure}.".replace("-", "−", 1)


def _advice(relation: Relation) -> str:
    number = STUDIES_NEEDED.get(relation.tasks[0]) if len(set(relation.tasks)) == 1 else None
    pool = "" if number is None else f"Pool {number} such studies, or use"
    return f" {pool or 'Use'} a study of {TASKS_NEEDED} tasks."
