"""The study's answer in plain words: together with which tasks should each task be learned?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ensemble_mtl.analysis.comparison import Comparison, Verdict
from ensemble_mtl.analysis.summary import Summary
from ensemble_mtl.analysis.summary_rows import ComparisonRow
from ensemble_mtl.report.table import p_value, percent_interval, signed_percent
from ensemble_mtl.report.tables import fractions
from ensemble_mtl.study.plan import label

Tone = Literal["gains", "loses", "mixed", "open"]


@dataclass(frozen=True)
class Headline:
    """The verdict on one task.

    Attributes:
        task: the name of the task.
        tone: the kind of verdict, which gives it its colour on the page.
        text: the verdict, in a few words.
        detail: the numbers that it rests on.
    """

    task: str
    tone: Tone
    text: str
    detail: str


def headlines(summary: Summary) -> list[Headline]:
    """One verdict per task, at the largest training fraction."""
    return [_headline(summary, task) for task in summary.tasks]


def _headline(summary: Summary, task: str) -> Headline:
    full = fractions(summary)[0]
    rows = [row for row in summary.comparisons if row.task == task and row.fraction == full]
    if not rows:
        return Headline(task, "open", "not compared", "The study trains it either only alone or only together.")
    gaining, losing, undecided = _sorted(rows, "gains"), _sorted(rows, "loses"), _sorted(rows, "too few seeds")
    if gaining:
        losses = f"; but loses with {_partners_of(losing, task)}" if losing else ""
        best = gaining[0]
        return Headline(
            task, "mixed" if losing else "gains", f"gains from {_partners(best, task)}{losses}", _numbers(best)
        )
    if losing:
        neutral = len(rows) > len(losing)
        text = f"loses with {_partners_of(losing, task)}" if neutral else "better alone"
        return Headline(task, "loses", text, _numbers(losing[0]))
    if undecided:
        return Headline(task, "open", "too few seeds to say", _undecided_detail(summary, undecided))
    largest = max(rows, key=_change)
    return Headline(task, "open", "no evidence that partners matter", f"Largest change: {_numbers(largest)}")


def _change(row: ComparisonRow) -> float:
    """The size of the change of the error, in per cent; 0 if it is undefined."""
    return abs(row.against_alone.percent or 0.0)


def _sorted(rows: Sequence[ComparisonRow], verdict: Verdict) -> list[ComparisonRow]:
    """The rows with this ``verdict``, the largest change first."""
    chosen = [row for row in rows if row.against_alone.verdict == verdict]
    return sorted(chosen, key=_change, reverse=True)


def _partners(row: ComparisonRow, task: str) -> str:
    """The tasks that are learned together with ``task``, such as ``C + M``."""
    partners = [name for name in row.subset if name != task]
    return " + ".join(partners)


def _partners_of(rows: Sequence[ComparisonRow], task: str) -> str:
    return " or with ".join(_partners(row, task) for row in rows)


def _numbers(row: ComparisonRow) -> str:
    comparison = row.against_alone
    change = "no number" if comparison.percent is None else signed_percent(comparison.percent)
    interval = percent_interval(comparison.percent_ci95)
    return (
        f"{change} test RMSE in {label(row.subset)} against alone (95 % interval {interval}; "
        f"Holm-corrected p {_equation(comparison.p_holm)}; {comparison.units} {_units(comparison)})"
    )


def _units(comparison: Comparison) -> str:
    return "splits" if comparison.unit == "split" else "paired seeds"


def _equation(p: float | None) -> str:
    """The right side of a sentence about p, such as ``= 0.031`` or ``< 0.001``."""
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _undecided_detail(summary: Summary, rows: Sequence[ComparisonRow]) -> str:
    """How many units there are and how many a verdict needs, with the changes so far."""
    units = max(row.against_alone.units for row in rows)
    changes = [(row.subset, row.against_alone.percent) for row in rows]
    texts = [f"{label(subset)} {signed_percent(percent)}" for subset, percent in changes if percent is not None]
    so_far = f" So far: {', '.join(texts)}." if texts else ""
    return f"{units} matched; a verdict needs {summary.conventions.min_units}.{so_far}"
